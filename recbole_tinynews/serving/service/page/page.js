// Titles are untrusted: they are set as text, and no markup is made from strings.

const WAIT = 120; // milliseconds of typing before a search
const POLL = 3000; // milliseconds until the next look at what was counted
const LONGEST_ID = 200; // as in schema.py
const MOST_CLICKS_SHOWN = 5; // those that counted most
const byId = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const signed = new Intl.NumberFormat("en", { signDisplay: "always", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const percent = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

const state = { clicks: [], candidates: [], mode: "top", k: "10", first: "", second: "" };
let recommenders = [];
let asking = new AbortController();
let ranked = ""; // the rankings that are shown, as text

// ------------------------------------------------------------------ the service

async function ask(path, { method = "GET", body, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      signal,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body && JSON.stringify(body),
    });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Error("The service can't be reached. Is it still running?");
  }
  const content = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(said(content) ?? `The service answered with status ${answer.status}.`);
  return content;
}

function said(content) {
  const detail = content?.detail;
  if (!Array.isArray(detail)) return detail;
  return detail.map((each) => `${each.loc.slice(1).join(" ")}: ${each.msg}`).join(" ");
}

const asGiven = (article) => article.id ?? { title: article.title };

function question(name) {
  const { clicks, candidates, mode, k } = state;
  const body = { recommender: name, history: clicks.map(asGiven), click_weights: true, contributions: true };
  return mode === "top"
    ? ["top", { ...body, k: Number(k) }]
    : ["rank", { ...body, candidates: candidates.map(asGiven) }];
}

async function rankingOf(name, signal) {
  const [path, body] = question(name);
  const { candidates, clicks } = state;
  const answer = await ask(path, { method: "POST", body, signal });
  const articles = answer.ranked.map((each, place) => ({
    ...each,
    parts: answer.contributions?.[place],
    title: each.title ?? candidates[each.place].title,
    key: each.id ?? `title ${candidates[each.place].title}`,
  }));
  const weights = answer.click_weights?.map((weight, place) => ({ weight, title: clicks[place].title }));
  return { name, articles, weights };
}

async function randomArticles(number) {
  const { total } = await ask("news?limit=1");
  const places = new Set();
  while (places.size < Math.min(number, total)) places.add(Math.floor(Math.random() * total));
  const found = await Promise.all([...places].map((place) => ask(`news?limit=1&offset=${place}`)));
  return found.flatMap((each) => each.news);
}

// ------------------------------------------------------------------ elements

function element(tag, { text, ...rest } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (name === "class") made.className = value;
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

function bar(share) {
  const filled = element("i");
  filled.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return element("span", { class: "bar", "aria-hidden": "true" }, filled);
}

const shown = (title) => title || "(no title)";
const layers = ({ layers: number }) => (number === null ? "all layers" : `${number} layer${number === 1 ? "" : "s"}`);

// ------------------------------------------------------------------ picking an article

function picker(name, pick) {
  const input = byId(`${name}-input`);
  const list = byId(`${name}-options`);
  let searching = new AbortController();
  let timer = 0;
  let offered = [];
  let active = -1;

  function close() {
    clearTimeout(timer);
    searching.abort();
    list.hidden = true;
    list.replaceChildren();
    offered = [];
    activate(-1);
    input.setAttribute("aria-expanded", "false");
  }

  function activate(place) {
    active = place;
    for (const [number, option] of [...list.querySelectorAll("[role=option]")].entries()) {
      option.setAttribute("aria-selected", String(number === place));
      if (number === place) option.scrollIntoView({ block: "nearest" });
    }
    if (place < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `${name}-option-${place}`);
  }

  function choose(article) {
    input.value = "";
    close();
    pick(article);
  }

  function option(article, place, own) {
    const text = own ? `Use “${article.title}” as a title` : shown(article.title);
    const made = element("li", { class: own ? "option own" : "option", role: "option", id: `${name}-option-${place}`, text });
    made.addEventListener("mousedown", (event) => event.preventDefault()); // keep the focus on the input
    made.addEventListener("click", () => choose(article));
    return made;
  }

  function offer(found, query) {
    offered = [...found.news];
    const options = offered.map((article, place) => option(article, place, false));
    if (!offered.length) options.push(element("li", { class: "option note", role: "presentation", text: "No article has all these words." }));
    if (query) {
      offered.push({ id: null, title: query });
      options.push(option(offered.at(-1), offered.length - 1, true));
    }
    list.replaceChildren(...options);
    list.scrollTop = 0;
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    activate(query && found.news.length ? 0 : -1);
    byId("status").textContent = `${count.format(found.total)} articles found`;
  }

  async function search() {
    searching.abort();
    searching = new AbortController();
    const query = input.value.trim();
    try {
      const found = await ask(`news?${new URLSearchParams({ query, limit: 30 })}`, { signal: searching.signal });
      offer(found, query);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      list.replaceChildren(element("li", { class: "option note", role: "presentation", text: problem.message }));
      list.hidden = false;
    }
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(search, WAIT);
  }

  const keys = {
    ArrowDown: () => (list.hidden ? search() : activate(Math.min(active + 1, offered.length - 1))),
    ArrowUp: () => activate(Math.max(active - 1, 0)),
    Escape: () => (list.hidden ? (input.value = "") : close()),
    Enter: () => {
      if (offered[active]) choose(offered[active]);
      else if (input.value.trim()) choose({ id: null, title: input.value.trim() });
    },
  };
  input.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.isComposing) return;
    event.preventDefault();
    keys[event.key]();
  });
  input.addEventListener("input", later);
  input.addEventListener("click", () => list.hidden && search());
  input.addEventListener("blur", close);
}

function showChosen(name, articles, counted) {
  const lines = articles.map((article, place) => {
    const remove = element("button", { type: "button", class: "icon", text: "×", "aria-label": `Remove “${shown(article.title)}”` });
    remove.addEventListener("click", () => {
      articles.splice(place, 1);
      update();
      byId(`${name}-input`).focus();
    });
    const old = place < articles.length - counted;
    return element("li", { class: old ? "old" : "" }, element("span", { class: "text", text: shown(article.title) }), remove);
  });
  byId(`${name}-chosen`).replaceChildren(...lines);
}

const isSame = (one, other) => (one.id === null ? other.id === null && one.title === other.title : one.id === other.id);

function add(articles, more) {
  for (const article of more) if (!articles.some((each) => isSame(each, article))) articles.push(article);
}

// ------------------------------------------------------------------ rankings

function showWeights(weights) {
  const sorted = [...weights].sort((one, other) => other.weight - one.weight).slice(0, MOST_CLICKS_SHOWN);
  const lines = sorted.map(({ weight, title }) =>
    element("li", { class: "click" },
      element("span", { class: "share", text: percent.format(weight) }),
      element("span", { class: "title", text: shown(title), title: shown(title) }),
      bar(weight)));
  return element("section", { class: "counted" },
    element("h3", { text: "Clicks that counted most" }), element("ol", {}, ...lines));
}

function shiftOf(place, other, otherPlace) {
  if (otherPlace === undefined) return { text: "only here", spoken: `not in the list of ${other}`, up: true };
  const higher = otherPlace - place;
  if (!higher) return { text: "same", spoken: `at the same place as with ${other}` };
  const places = `${Math.abs(higher)} ${Math.abs(higher) === 1 ? "place" : "places"}`;
  return higher > 0
    ? { text: `▲ ${higher}`, spoken: `${places} higher than with ${other}`, up: true }
    : { text: `▼ ${-higher}`, spoken: `${places} lower than with ${other}` };
}

function showParts(parts) {
  const each = Object.entries(parts).map(([name, value]) =>
    element("span", {}, `${name} `, element("b", { text: signed.format(value) })));
  return element("p", { class: "parts", title: "These add up to the score" }, ...each);
}

function showItem(article, place, scores, other) {
  const spread = scores.high - scores.low;
  const line = element("span", { class: "line" },
    element("span", { class: "score", text: article.score.toFixed(2), title: `score ${article.score}` }),
    bar(spread ? 0.04 + 0.96 * ((article.score - scores.low) / spread) : 1));
  if (other) {
    const shift = shiftOf(place, other.name, other.places.get(article.key));
    line.append(element("span", { class: shift.up ? "shift up" : "shift", title: shift.spoken },
      element("span", { text: shift.text, "aria-hidden": "true" }), element("span", { class: "hidden", text: shift.spoken })));
  }
  const parts = article.parts ? [showParts(article.parts)] : [];
  const click = element("button", { type: "button", class: "icon", text: "+", title: "Add to the clicks",
    "aria-label": `Add “${shown(article.title)}” to the clicks` });
  click.addEventListener("click", () => {
    add(state.clicks, [{ id: article.id, title: article.title }]);
    update();
    byId("status").textContent = `Added “${shown(article.title)}” to the clicks`;
  });
  const item = element("li", { class: "item" },
    element("span", { class: "place", text: place + 1 }),
    element("div", {}, element("span", { class: article.title ? "title" : "title untitled", text: shown(article.title) }), line, ...parts),
    click);
  item.dataset.key = article.key;
  return item;
}

function showRanking({ name, articles, weights }, side, other) {
  const about = recommenders.find((each) => each.name === name);
  const values = articles.map((each) => each.score);
  const scores = { low: Math.min(...values), high: Math.max(...values) };
  const heading = state.mode === "top" ? "Best of all articles" : "Candidates, best first";
  const list = element("ol", { class: "best" }, ...articles.map((each, place) => showItem(each, place, scores, other)));
  const ranking = element("article", { class: `ranking ${side}`, "aria-label": name },
    element("header", { class: "ranking-head" },
      element("h2", { text: about.model }),
      element("p", { class: "about", text: `${layers(about)} · ${name}` })));
  if (weights?.length) ranking.append(showWeights(weights));
  ranking.append(element("h3", { class: "best-heading", text: heading }), list);
  return ranking;
}

const placesOf = ({ name, articles }) => ({ name, places: new Map(articles.map(({ key }, place) => [key, place])) });

function agreementOf([one, other]) {
  const there = placesOf(other).places;
  const both = one.articles.filter(({ key }) => there.has(key)).length;
  const first = one.articles[0]?.key === other.articles[0]?.key ? "the first is the same" : "the first differs";
  if (state.mode === "top") return `${both} of ${one.articles.length} articles are in both lists; ${first}.`;
  const same = one.articles.filter(({ key }, place) => there.get(key) === place).length;
  return `${same} of ${one.articles.length} candidates have the same place; ${first}.`;
}

function showRankings(rankings) {
  ranked = JSON.stringify(rankings);
  const two = rankings.length === 2;
  byId("agreement").hidden = !two;
  byId("agreement").textContent = two ? agreementOf(rankings) : "";
  const columns = rankings.map((each, number) =>
    showRanking(each, number ? "second" : "first", two ? placesOf(rankings[1 - number]) : null));
  byId("columns").replaceChildren(...columns);
  byId("status").textContent = `Ranked by ${rankings.map((each) => each.name).join(" and ")}`;
}

function highlight(event) {
  const key = event.type.endsWith("out") ? undefined : event.target.closest(".item")?.dataset.key;
  for (const item of document.querySelectorAll(".item")) {
    item.classList.toggle("same", key !== undefined && item.dataset.key === key);
  }
}

// ------------------------------------------------------------------ updates

function showEmpty(title, text, example) {
  byId("empty").hidden = title === null;
  byId("empty-title").textContent = title ?? "";
  byId("empty-text").textContent = text ?? "";
  byId("empty-example").hidden = !example;
}

function showReader() {
  const counted = Math.max(...recommenders.map((each) => each.history_length));
  const { clicks } = state;
  showChosen("clicks", clicks, counted);
  showChosen("candidates", state.candidates, Infinity);
  byId("clicks-hint").textContent = clicks.length > counted ? `The newest ${counted} count.` : "";
  byId("clear").hidden = !clicks.length;
  byId("candidates").hidden = state.mode !== "rank";
  byId("k-row").hidden = state.mode !== "top";
  for (const choice of document.getElementsByName("mode")) choice.checked = choice.value === state.mode;
  byId("k").value = state.k;
  for (const name of ["first", "second"]) {
    byId(name).value = state[name];
    byId(`${name}-name`).textContent = state[name]; // in full: the menu above is narrow
  }
}

function nothingToRank() {
  const known = recommenders[0].news > 0;
  if (!known && state.mode === "top") {
    return ["No articles yet", "Start the service with --news=FILE, or send articles with PUT /news. You can rank titles of your own under “My candidates”.", false];
  }
  if (!state.clicks.length) return ["No clicks yet", "Search for articles that the reader clicked, type a title, or pick a random reader.", known];
  if (state.mode === "rank" && !state.candidates.length) return ["No candidates yet", "Add the articles to rank for this reader.", false];
  return null;
}

const rankingsNow = (signal) =>
  Promise.all([state.first, state.second].filter(Boolean).map((name) => rankingOf(name, signal)));

// Shows what was counted or added meanwhile; hidden pages and those that wait or are in use ask nothing.
async function follow() {
  const { signal } = asking;
  const columns = byId("columns");
  if (document.hidden || columns.hasAttribute("aria-busy") || !byId("error").hidden) return;
  try {
    const served = (await ask("health", { signal })).recommenders;
    if (signal.aborted) return;
    if (JSON.stringify(served) !== JSON.stringify(recommenders)) {
      recommenders = served;
      showServed();
      update();
    } else if (!nothingToRank() && !columns.contains(document.activeElement)) {
      const rankings = await rankingsNow(signal);
      if (!signal.aborted && JSON.stringify(rankings) !== ranked) showRankings(rankings);
    }
  } catch {
    // the reader's next question says what is wrong
  }
}

async function keepFollowing() {
  await follow();
  setTimeout(keepFollowing, POLL);
}

async function update() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  remember();
  showReader();
  byId("error").hidden = true;
  const nothing = nothingToRank();
  showEmpty(...(nothing ?? [null]));
  if (nothing) {
    showRankingsGone();
    return;
  }
  const busy = setTimeout(() => (byId("progress").hidden = false), 150);
  byId("columns").setAttribute("aria-busy", "true");
  try {
    showRankings(await rankingsNow(signal));
  } catch (problem) {
    if (!signal.aborted) {
      showRankingsGone();
      showError(problem, update);
    }
  } finally {
    clearTimeout(busy);
    if (!signal.aborted) {
      byId("progress").hidden = true;
      byId("columns").removeAttribute("aria-busy");
    }
  }
}

function showRankingsGone() {
  byId("columns").replaceChildren();
  byId("columns").removeAttribute("aria-busy");
  byId("agreement").hidden = true;
  byId("progress").hidden = true;
}

function showError(problem, again) {
  byId("error").hidden = false;
  byId("error-text").textContent = problem.message;
  byId("retry").onclick = again;
}

// ------------------------------------------------------------------ the reader in the address

const written = (article) => (article.id === null ? `title:${article.title}` : `id:${article.id}`);

function remember() {
  const parts = new URLSearchParams();
  for (const article of state.clicks) parts.append("click", written(article));
  for (const article of state.candidates) parts.append("candidate", written(article));
  for (const name of ["mode", "k", "first", "second"]) parts.set(name, state[name]);
  history.replaceState(null, "", `#${parts}`);
}

async function read(text) {
  if (text.startsWith("title:")) return [{ id: null, title: text.slice(6) }];
  const id = text.slice(3);
  if (!id || id.length > LONGEST_ID) return [];
  const { news } = await ask(`news?${new URLSearchParams({ query: id, limit: 1 })}`);
  return news.filter((article) => article.id === id); // it may have been removed
}

async function recall() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const all = (name) => Promise.all(parts.getAll(name).map(read)).then((found) => found.flat());
  [state.clicks, state.candidates] = await Promise.all([all("click"), all("candidate")]);
  const names = recommenders.map((each) => each.name);
  const pick = (name, allowed, usual) => (allowed.includes(parts.get(name)) ? parts.get(name) : usual);
  state.mode = pick("mode", ["top", "rank"], "top");
  state.k = pick("k", [...byId("k").options].map((each) => each.text), "10");
  state.first = pick("first", names, names[0]);
  state.second = pick("second", ["", ...names], names[1] ?? "");
}

// ------------------------------------------------------------------ start

function showServed() {
  const news = count.format(recommenders[0].news);
  byId("served").textContent = `${news} articles · ${recommenders.length} recommender${recommenders.length === 1 ? "" : "s"}`;
  byId("all-count").textContent = `(${news})`;
  byId("recommenders").hidden = recommenders.length < 2;
  const options = () => recommenders.map((each) => element("option", { value: each.name, text: `${each.model}, ${layers(each)} (${each.name})` }));
  byId("first").replaceChildren(...options());
  byId("second").replaceChildren(element("option", { value: "", text: "nothing to compare with" }), ...options());
}

async function random(articles, number, replace) {
  try {
    const drawn = await randomArticles(number);
    if (replace) articles.length = 0;
    add(articles, drawn);
    update();
  } catch (problem) {
    showError(problem, () => random(articles, number, replace));
  }
}

function listen() {
  picker("clicks", (article) => { add(state.clicks, [article]); update(); });
  picker("candidates", (article) => { add(state.candidates, [article]); update(); });
  for (const id of ["example", "empty-example"]) byId(id).addEventListener("click", () => random(state.clicks, 5, true));
  byId("draw").addEventListener("click", () => random(state.candidates, 10, false));
  byId("clear").addEventListener("click", () => { state.clicks = []; update(); byId("clicks-input").focus(); });
  for (const name of ["k", "first", "second"]) byId(name).addEventListener("change", (event) => { state[name] = event.target.value; update(); });
  for (const choice of document.getElementsByName("mode")) choice.addEventListener("change", () => { state.mode = choice.value; update(); });
  for (const kind of ["mouseover", "mouseout", "focusin", "focusout"]) byId("columns").addEventListener(kind, highlight);
}

async function start() {
  byId("error").hidden = true;
  try {
    ({ recommenders } = await ask("health"));
    showServed();
    await recall();
  } catch (problem) {
    showError(problem, start);
    return;
  }
  if (!start.listening) {
    listen();
    setTimeout(keepFollowing, POLL);
  }
  start.listening = true;
  update();
}

start();
