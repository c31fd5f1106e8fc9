"""Published label counts of MM-IMDb, MIntRec and IEMOCAP: synthetic data copy them, readers of releases check them."""

MMIMDB_FILMS = 25_959
MMIMDB_GENRES = {
    "Drama": 13967, "Comedy": 8592, "Romance": 5364, "Thriller": 5192, "Crime": 3838, "Action": 3550,
    "Adventure": 2710, "Horror": 2703, "Documentary": 2082, "Mystery": 2057, "Sci-Fi": 1991, "Fantasy": 1933,
    "Family": 1668, "Biography": 1343, "War": 1335, "History": 1143, "Music": 1045, "Animation": 997, "Musical": 841,
    "Western": 705, "Sport": 634, "Short": 471, "Film-Noir": 338, "News": 64, "Adult": 4, "Talk-Show": 2,
    "Reality-TV": 1,
}  # fmt: skip
"""Films per genre in MM-IMDb (27 genres in the raw release; the last four are dropped by the 23-genre benchmark)."""

MINTREC_INTENTS = {
    "Advise": 122, "Agree": 59, "Apologise": 136, "Arrange": 110, "Ask for help": 51, "Care": 95, "Comfort": 88,
    "Complain": 286, "Criticize": 117, "Flaunt": 52, "Greet": 60, "Inform": 284, "Introduce": 105, "Joke": 51,
    "Leave": 85, "Oppose": 51, "Praise": 213, "Prevent": 73, "Taunt": 62, "Thank": 124,
}  # fmt: skip
"""Clips per intent in MIntRec."""

IEMOCAP_EMOTIONS = {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084}
"""Utterances per emotion in the four-class benchmark of IEMOCAP (happy includes excited)."""
