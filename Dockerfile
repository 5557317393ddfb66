# One finished recommender behind HTTP: docs/serving.md. Expects ./served/recommender, the folder of
# a finished run, and ./served/news.csv, its articles with the columns id and title.
FROM python:3.11-slim

# hadolint ignore=DL3013  # setup.py bounds versions
RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY setup.py README.md LICENSE pyproject.toml ./
COPY properties properties
COPY dataset dataset
COPY recbole_tinynews recbole_tinynews
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[serve,postgres]" && pip install --no-cache-dir --no-deps recbole==1.2.1 \
    && useradd --uid 1000 --create-home ranker

WORKDIR /home/ranker
COPY --chown=ranker served/recommender recommender
COPY --chown=ranker served/news.csv news.csv
USER 1000
ENV HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --start-period=5m CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=3)"]
CMD ["recbole-tinynews", "serve", "recommender", "--news=news.csv", "--store=store.db", "--host=0.0.0.0", "--port=8000"]
