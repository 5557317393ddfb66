"""The words of the synthetic world: topics and themes, and what every headline shares."""

from __future__ import annotations

from typing import NamedTuple

# A concept is written `title words/body words`: a headline says it in one half, its body mostly
# in the other. A word before a colon begins a subtopic.
_CONCEPTS = {
    "sports": """
        football: touchdown,fumble/quarterback,endzone playoff/postseason coach/sideline
            linebacker/tackles stadium/turf rookie/draftee helmet/huddle kickoff/punter
            blitz/scrimmage fullback/yardage
        basketball: dunk,layup/rim,backboard buzzer/overtime guard/dribble rebound/boards
            arena/hardwood center/lottery freethrow/jumper foul/whistle lineup/rotation
            sneakers/pivot
        baseball: homer,slugger/ballpark,outfield pitcher/mound inning/dugout bullpen/reliever
            shortstop/infield pennant/clubhouse umpire/strikeout glove/catcher curveball/fastball
            batter/plate
        tennis: serve,volley/baseline,racket court/clay seed/bracket forehand/topspin
            slam/fortnight ace/fault tiebreak/deuce doubles/partner hawkeye/linesman
            wildcard/qualifier
    """,
    "politics": """
        elections: ballot,poll/precinct,turnout candidate/nominee debate/podium primary/caucus
            recount/tally campaign/rally voter/electorate slogan/leaflet incumbent/challenger
            swing/canvass
        congress: senate,bill/chamber,amendment speaker/gavel filibuster/cloture
            shutdown/appropriations whip/quorum lobbyist/donor hearing/testimony
            subpoena/committee leader/majority veto/override
        courts: justice,ruling/bench,opinion appeal/docket injunction/plaintiff precedent/clerk
            constitution/statute nomination/confirmation dissent/concurrence lawsuit/complaint
            robe/courtroom attorney/counsel
        diplomacy: treaty,summit/delegation,communique embassy/consulate sanctions/tariffs
            ambassador/envoy ceasefire/truce alliance/pact minister/cabinet border/checkpoint
            refugee/asylum negotiator/mediator
    """,
    "finance": """
        markets: stocks,shares/index,traders dividend/payout selloff/correction earnings/quarter
            bond/yield hedge/portfolio bull/gains broker/commission futures/commodities
            volatility/swings
        banking: loan,mortgage/lender,collateral deposit/teller interest/rate credit/score
            overdraft/fee branch/vault regulator/audit default/arrears savings/passbook
            merger/acquirer
        housing: condo,listing/realtor,bedrooms rent/tenant landlord/lease foreclosure/auctioneer
            suburb/driveways buyer/closing appraisal/valuation builder/permit skyscraper/developer
            inventory/vacancies
        jobs: layoffs,hiring/payroll,workforce salary/paycheck strike/picket union/bargaining
            resume/interviewer intern/apprentice wage/timesheet pension/retiree boss/supervisor
            gig/freelancer
    """,
    "health": """
        nutrition: diet,calories/metabolism,intake protein/lentils sugar/glucose
            vitamin/supplement fiber/wholegrain keto/carbohydrate salt/sodium snack/craving
            fasting/hunger cholesterol/lipid
        fitness: workout,squat/reps,dumbbell marathon/mileage yoga/stretching trainer/gym
            cardio/treadmill muscle/biceps plank/core cycling/spinning injury/hamstring
            posture/spine
        medicine: vaccine,surgery/dose,surgeon virus/infection cancer/tumor hospital/ward
            drug/pharmacy nurse/stethoscope outbreak/quarantine transplant/organ diagnosis/symptom
            allergy/antibody
        mind: anxiety,stress/therapist,counselling sleep/insomnia depression/mood
            meditation/breathing burnout/exhaustion memory/dementia grief/mourning
            loneliness/isolation addiction/rehab autism/neurologist
    """,
    "entertainment": """
        movies: film,sequel/screenplay,director trailer/footage blockbuster/multiplex
            oscar/statuette villain/stuntman superhero/cape actor/casting premiere/carpet
            remake/adaptation animation/pixels
        music: album,single/recording,chorus tour/setlist guitar/riff singer/vocals rapper/mixtape
            concert/amplifier grammy/songwriter drummer/rhythm festival/headliner vinyl/turntable
        television: sitcom,finale/episode,showrunner streaming/subscriber reboot/pilot
            host/monologue drama/screenwriter reality/contestant network/ratings spinoff/season
            cartoon/voiceover binge/couch
        celebrity: divorce,wedding/prenup,bride paparazzi/tabloid gown/stylist breakup/rumor
            baby/nursery royal/palace mansion/chandelier feud/insults selfie/followers
            romance/fling
    """,
    "travel": """
        flights: airline,airport/runway,cabin pilot/cockpit luggage/carousel delay/layover
            passenger/seatbelt fare/booking turbulence/altitude jet/fuselage visa/customs
            upgrade/legroom
        hotels: resort,suite/lobby,concierge spa/massage hostel/bunk checkout/receptionist
            minibar/pillow rooftop/terrace housekeeping/linens casino/roulette inn/innkeeper
            loyalty/points
        beaches: island,surf/lagoon,tides cruise/deckchair snorkel/reef sunscreen/tan
            lifeguard/buoy boardwalk/pier sandcastle/dunes yacht/harbor seashell/driftwood
            jellyfish/shoreline
        hiking: trail,climb/ridge,switchback canyon/gorge campsite/tent backpack/rucksack
            waterfall/creek ranger/park bear/wilderness glacier/crevasse forest/canopy
            lookout/vista
    """,
    "food": """
        baking: cake,pie/dough,oven cookie/batter frosting/buttercream bread/yeast flour/sifter
            muffin/tin cinnamon/nutmeg pastry/glaze cheesecake/crust macaron/meringue
        grilling: barbecue,steak/charcoal,marinade burger/patty ribs/smoker sausage/bratwurst
            brisket/rub kebab/skewer chicken/drumstick tongs/embers sauce/chili tailgate/cooler
        restaurants: chef,menu/kitchen,diners reservation/waiter tasting/sommelier sushi/wasabi
            tip/gratuity takeaway/counter bistro/candlelight michelin/inspector brunch/mimosa
            noodle/broth
        drinks: coffee,beer/espresso,brewery wine/vineyard cocktail/bartender whiskey/distillery
            tea/kettle soda/fizz smoothie/blender juice/citrus latte/barista champagne/cork
    """,
    "autos": """
        electric: battery,charger/kilowatt,plug hybrid/ev range/kilometer autopilot/lidar
            startup/prototype lithium/cells sedan/aerodynamics credit/rebate software/firmware
            motor/torque
        trucks: pickup,towing/hitch,cargo diesel/horsepower suv/hatch offroad/suspension
            flatbed/payload cab/backseat grille/bumper winch/mud dealership/showroom recall/defect
        racing: speedway,lap/pitstop,chequered nascar/oval formula/grandprix crash/barrier
            pole/qualifying driver/paddock tire/grip engine/pistons dragster/smoke podium/trophy
        repairs: mechanic,brakes/garage,wrench oil/filter transmission/gearbox dent/panel
            warranty/coverage windshield/wiper alternator/jumpstart rust/chassis tuneup/coolant
            muffler/exhaust
    """,
    "weather": """
        storms: hurricane,tornado/evacuees,shelter thunder/lightning hail/shingles wind/gusts
            landfall/eyewall siren/basement outage/transformer cyclone/forecaster
            radar/meteorologist surge/coastline
        snow: blizzard,snowfall/plow,drifts ice/sleet frost/thermometer avalanche/slope
            windchill/mittens shovel/driveway ski/powder snowman/flurries icicle/gutter
            whiteout/visibility
        heat: heatwave,drought/scorching,reservoir wildfire/firefighters sunburn/ultraviolet
            airconditioning/grid humidity/sweat record/mercury smog/haze crop/withered
            desert/mirage hydration/fans
        floods: flood,deluge/sandbags,riverbank levee/breach rescue/rowboat monsoon/rainfall
            mudslide/debris dam/spillway bridge/washout insurance/adjuster pump/mold
            creekbed/overflow
    """,
    "crime": """
        robbery: heist,burglar/getaway,loot raid/masked jewel/safe thief/pickpocket
            carjacking/ignition shoplifter/guard gun/holster alarm/camera gang/hideout
            arrest/handcuffs
        fraud: scam,hacker/phishing,password embezzlement/ledger identity/passport ponzi/investors
            bribe/envelope counterfeit/banknotes evasion/offshore whistleblower/documents
            laundering/shell robocall/caller
        missing: kidnap,disappearance/volunteers,flyers amber/bulletin search/bloodhound
            clue/detective runaway/teenager abduction/witness ransom/coroner remains/dna
            farewell/note reunion/relatives
        trials: verdict,murder/jurors,prosecutor sentence/parole jail/inmate bail/bondsman
            confession/interrogation alibi/timeline acquittal/retrial plea/defendant
            execution/clemency mistrial/judge
    """,
    "science": """
        space: rocket,asteroid/launchpad,orbit mars/rover astronaut/spacesuit telescope/galaxy
            moon/crater satellite/antenna comet/tail blackhole/gravity shuttle/module
            alien/exoplanet
        animals: panda,shark/zookeeper,habitat elephant/herd puppy/kennel whale/blubber
            snake/venom bird/feathers extinction/species bee/hive gorilla/troop cat/whiskers
        climate: carbon,warming/emissions,atmosphere icecap/tideline solar/panels turbine/blades
            plastic/recycling ozone/aerosol methane/livestock coral/bleaching protest/activists
            renewable/hydropower
        archaeology: fossil,tomb/excavation,trench dinosaur/skeleton pyramid/pharaoh
            shipwreck/divers mummy/sarcophagus scroll/parchment ruin/mosaic cave/paintings
            viking/longship coin/hoard
    """,
    "lifestyle": """
        decor: sofa,makeover/upholstery,cabinets rug/weave wallpaper/pattern lamp/bulb
            paint/primer closet/hangers tile/grout curtain/drapes fireplace/mantel
            attic/insulation
        gardening: garden,tomato/compost,seedling rose/petals lawn/mower weed/mulch
            greenhouse/trellis bulbs/perennial hedgerow/pruning pumpkin/vines herb/basil
            orchid/potting
        parenting: toddler,twins/stroller,playpen diaper/wipes tantrum/timeout daycare/caregiver
            homework/tutor pregnancy/midwife bedtime/lullaby teen/curfew adoption/orphanage
            allowance/chores
        fashion: dress,handbag/seamstress,sequins denim/stitching heels/leather model/catwalk
            perfume/fragrance jewelry/pendant lipstick/makeup sweater/cashmere tattoo/ink
            haircut/salon
    """,
}

# Themes cut across categories: any article has one, whatever it is about. A word before a colon
# begins a theme; its concepts are written as those above.
_THEMES = """
    gadgets: robot,drone/circuitry,propeller smartphone,tablet/touchscreen,bezel
        algorithm,chatbot/neural,parameters laptop,keyboard/processor,trackpad
        wearable,smartwatch/wristband,heartbeats encryption,firewall/cipher,handshake
        printer,scanner/toner,cartridge headset,soundbar/bluetooth,earbud
        microchip,semiconductor/wafer,nanometer broadband,router/bandwidth,cable
    charity: fundraiser,donation/philanthropist,endowment foodbank,pantry/cans,ladle
        orphan,foster/guardianship,caseworker helper,goodwill/kindness,gratitude
        telethon,raffle/bidders,prizes homeless,outreach/blankets,cots
        scholarship,grant/stipend,applicants relief,humanitarian/convoy,parcels
        hospice,caregiving/bedside,comfort nonprofit,mentor/trustees,bylaws
    nostalgia: anniversary,retro/decades,yesteryear antique,heirloom/patina,auctions
        cassette,walkman/rewind,hiss jukebox,diner/chrome,milkshake
        throwback,classic/sepia,scrapbook typewriter,telegram/inkwell,ribbon
        centennial,jubilee/commemoration,plaque carnival,ferris/lights,organist
        locomotive,steamtrain/boiler,stationmaster polaroid,snapshot/darkroom,negatives
    rivalry: showdown,grudge/taunts,vendetta rival,nemesis/standoff,tension
        comeback,upset/underdog,odds champion,titleholder/crown,throne duel,clash/sparring,bout
        boycott,backlash/petition,hashtags jab,insult/banter,provocation
        revenge,payback/retaliation,spite streak,dominance/unbeaten,dynasty
        ultimatum,gauntlet/dare,bravado
    faith: church,sermon/pews,hymn pilgrim,shrine/relic,procession rabbi,synagogue/torah,menorah
        mosque,imam/minaret,prayer bishop,vatican/cathedral,cassock monk,monastery/cloister,vows
        baptism,blessing/godparents,incense easter,lent/ashes,altar miracle,saint/candles,apparition
        missionary,gospel/scripture,psalms
    military: soldier,troops/barracks,regiment medal,veterans/valor,salute
        navy,submarine/sonar,torpedo airforce,bomber/hangar,sortie general,pentagon/briefing,command
        sniper,marine/camouflage,rifle missile,warhead/silo,trajectory
        battlefield,invasion/artillery,infantry recruit,bootcamp/drills,sergeant
        deployment,homecoming/furlough,duffel
    luxury: billionaire,tycoon/fortune,empire penthouse,villa/marble,butler
        diamond,emerald/carat,facet superyacht,helicopter/helipad,rotor
        caviar,truffle/platter,delicacy couture,designer/atelier,silk
        timepiece,goldsmith/dial,engraving limousine,chauffeur/tinted,leatherseats
        gala,soiree/tuxedo,ballroom polo,countryclub/caddie,stables
    thrift: bargain,discount/clearance,markdown coupon,voucher/cashier,barcode
        budget,frugal/spreadsheet,pennies secondhand,thriftstore/racks,bundles
        fleamarket,garagesale/haggling,trinkets freebie,giveaway/samples,leaflets
        homemade,handmade/scissors,glue leftover,reuse/containers,jars
        wholesale,warehouse/pallets,bulk refund,cashback/receipt,envelopes
    schooling: classroom,teacher/chalkboard,lesson student,campus/dormitory,syllabus
        exam,quiz/pencil,proctor principal,superintendent/hallway,lockers
        kindergarten,preschool/crayons,naptime graduation,diploma/mortarboard,valedictorian
        tuition,enrollment/bursar,registrar professor,lecture/seminar,tenure
        spelling,grammar/dictionary,vowels bully,detention/counselor,apology
    artistry: painting,gallery/canvas,brushstroke sculpture,statue/chisel,plinth
        museum,exhibit/curator,vitrine mural,graffiti/spraycan,stencil
        masterpiece,forgery/provenance,restorer ballet,dancer/pirouette,tutu
        opera,soprano/aria,libretto pottery,ceramic/kiln,slipware portrait,photograph/lens,shutter
        sketch,comic/inkpen,storyboard
    bookish: novel,author/chapter,manuscript library,librarian/shelves,catalogue
        poem,poet/stanza,rhyme bestseller,paperback/publisher,imprint
        memoir,biography/ghostwriter,anecdotes thriller,whodunit/plottwist,sleuth
        fairytale,legend/dragon,enchantment bookstore,bookclub/bookmark,armchair
        editor,essay/footnote,redraft translator,language/idiom,glossary
    gaming: videogame,esports/joystick,respawn chess,grandmaster/checkmate,rook
        poker,jackpot/bluff,chips puzzle,crossword/gridlines,solver
        boardgame,dice/counters,rulebook arcade,pinball/flippers,highscore
        bingo,trivia/buzzers,quizmaster wizard,quest/dungeon,potion toy,lego/bricks,assembly
        kite,yoyo/string,spool
    humor: joke,comedian/punchline,giggles prank,hoax/disguise,mustache meme,parody/caption,remix
        satire,sarcasm/irony,wit clown,circus/juggler,trapeze mascot,costume/foam,zipper
        blooper,gaffe/outtake,stumble slapstick,tickle/custard,banana improv,standup/stage,heckler
        oddity,weird/peculiar,quirk
    survival: stranded,castaway/flare,raft survivor,ordeal/hypothermia,rations
        lifeboat,mayday/capsized,oars bunker,prepper/stockpile,lantern
        earthquake,aftershock/rubble,tremor volcano,eruption/lava,plume
        collapse,cavein/miners,tunnel
        rescuer,paramedic/stretcher,tourniquet freefall,parachute/harness,ripcord
        poison,antidote/toxin,vial
    paranormal: ghost,haunted/seance,creaks ufo,saucer/hovering,hum psychic,tarot/palmistry,visions
        vampire,werewolf/fangs,coffin bigfoot,yeti/footprints,blurry curse,hex/talisman,omen
        witch,coven/cauldron,broomstick zombie,undead/graveyard,groans
        prophecy,doomsday/oracle,riddle astrology,horoscope/zodiac,retrograde
    kinship: grandma,grandpa/knitwear,cardigan sibling,brother/bunkbed,quarrel
        cousin,nephew/gatherings,potluck ancestor,genealogy/census,surname
        motherhood,fatherhood/pacifier,bib stepmother,inlaws/thanksgiving,turkey
        godmother,guardian/cradle,rattle inheritance,heir/executor,estate
        widow,widower/veil,keepsake triplets,newborn/ultrasound,incubator
    smalltown: mayor,townhall/gazebo,parade farmer,barn/tractor,hayloft sheriff,deputy/badge,patrol
        rodeo,countyfair/lasso,corral mailman,postoffice/mailbox,stamps
        grocer,storefront/aisle,scales
        firehouse,firetruck/hose,ladder quilting,knitting/yarn,needles
        fishing,bait/rod,minnow banjo,bluegrass/fiddle,porch
    espionage: spy,agent/dossier,codename wiretap,surveillance/earpiece,van
        leak,classified/shredder,memo defector,mole/handler,safehouse decoy,undercover/alias,wig
        sabotage,infiltration/microfilm,briefcase fugitive,interpol/warrant,extradition
        blackmail,coverup/hush,payoff assassin,conspiracy/bodyguard,motorcade
        polygraph,lie/electrodes,pulse
"""

TITLE_VERBS = [
    "delays",
    "reveals",
    "weighs",
    "rejects",
    "backs",
    "faces",
    "unveils",
    "doubts",
    "defends",
    "misses",
    "wins",
    "drops",
    "repeats",
    "answers",
    "changes",
    "avoids",
    "praises",
    "questions",
    "expects",
    "restores",
]
TITLE_ADJECTIVES = [
    "new",
    "early",
    "late",
    "quiet",
    "local",
    "costly",
    "rare",
    "final",
    "familiar",
    "careful",
    "second",
    "modest",
    "long",
    "small",
    "uneven",
    "recent",
    "joint",
    "public",
    "northern",
    "simple",
]
HOT_WORDS = [
    "shocking",
    "stunning",
    "secret",
    "exclusive",
    "heartbreaking",
    "viral",
    "bizarre",
    "incredible",
    "terrifying",
    "outrageous",
]
TITLE_TIMES = [
    "this week",
    "on Monday",
    "on Friday",
    "this season",
    "over the weekend",
    "before winter",
    "again this year",
    "by next month",
    "for the first time",
    "in a single day",
]
BODY_PEOPLE = [
    "officials",
    "neighbors",
    "analysts",
    "observers",
    "residents",
    "organizers",
    "reporters",
    "experts",
    "colleagues",
    "readers",
]
BODY_REMARKS = [
    "nobody had planned for it",
    "more details will follow",
    "the numbers speak for themselves",
    "it took longer than expected",
    "there is still work to do",
    "few were surprised",
    "the next step is open",
    "everything went as agreed",
]

_ONSETS = [
    "b",
    "br",
    "c",
    "d",
    "dr",
    "f",
    "g",
    "gl",
    "h",
    "j",
    "k",
    "kr",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "oo"]
_CODAS = ["n", "r", "l", "s", "x", "m", "nd", "rk", "th", "ck"]
SYLLABLES = tuple(onset + vowel for onset in _ONSETS for vowel in _VOWELS)
LAST_SYLLABLES = tuple(s + coda for s in SYLLABLES for coda in _CODAS)


class Concept(NamedTuple):
    """One thing that can be told in headline words or in body words."""

    title: list[str]
    body: list[str]


class Subtopic(NamedTuple):
    """A subcategory with the concepts of its articles, the most common one first."""

    category: str
    name: str
    concepts: list[Concept]


class Theme(NamedTuple):
    """A subject that articles of any category may have, with its concepts."""

    name: str
    concepts: list[Concept]


def subtopics() -> list[Subtopic]:
    """All subtopics; those of one category stand together."""
    return [
        Subtopic(category, name, concepts)
        for category, text in _CONCEPTS.items()
        for name, concepts in _parsed(text).items()
    ]


def themes() -> list[Theme]:
    """All themes."""
    return [Theme(name, concepts) for name, concepts in _parsed(_THEMES).items()]


def _parsed(text: str) -> dict[str, list[Concept]]:
    """The concepts under each name."""
    found: dict[str, list[Concept]] = {}
    for word in text.split():
        if word.endswith(":"):
            concepts = found[word[:-1]] = []
        else:
            title, body = word.split("/")
            concepts.append(Concept(title.split(","), body.split(",")))
    return found
