"""The thesis's tables, digit for digit as printed.

Svystun 2024, The Impact of Remixing on Vocal Extraction in Low Data Regimes, chapter 5.
"""

PUBLISHED: dict[str, dict[str, dict[str, str]]] = {
    "table_5_1_initial": {
        "cSDR": {"mean_db": "6.67", "std_db": "2.22", "t": "-7.65", "se_db": "0.042", "p": "0.999"},
        "uSDR": {"mean_db": "6.88", "std_db": "2.49", "t": "-2.31", "se_db": "0.047", "p": "0.989"},
        "siSDR": {"mean_db": "4.20", "std_db": "11.47", "t": "-12.8", "se_db": "0.218", "p": "1.0"},
    },
    "table_5_2_overfit": {
        "cSDR": {"mean_db": "10.94"},
        "uSDR": {"mean_db": "10.06"},
        "siSDR": {"mean_db": "9.61"},
    },
    "table_5_3_best_cell": {
        "cSDR": {"mean_db": "7.00", "std_db": "2.75", "t": "0.197", "se_db": "0.052", "p": "0.422"},
        "uSDR": {"mean_db": "7.13", "std_db": "2.63", "t": "2.808", "se_db": "0.050", "p": "0.0025"},
        "siSDR": {"mean_db": "5.84", "std_db": "4.35", "t": "-12.8", "se_db": "0.218", "p": "1.0"},
    },
    "table_5_4_difference": {
        "cSDR": {"difference_db": "0.33", "t": "4.916", "se_db": "0.067", "p": "0."},
        "uSDR": {"difference_db": "0.25", "t": "3.634", "se_db": "0.068", "p": "0."},
        "siSDR": {"difference_db": "1.64", "t": "7.039", "se_db": "0.232", "p": "0."},
    },
    "table_5_5_train": {
        "cSDR": {"mean_db": "7.28", "std_db": "2.8"},
        "uSDR": {"mean_db": "7.46", "std_db": "2.69"},
        "siSDR": {"mean_db": "6.03", "std_db": "5.18"},
    },
    "table_5_6_train_full": {
        "cSDR": {"mean_db": "7.94", "increase_percent": "+19", "std_db": "2.96"},
        "uSDR": {"mean_db": "8.07", "increase_percent": "+19", "std_db": "2.68"},
        "siSDR": {"mean_db": "7.19", "increase_percent": "+71", "std_db": "3.39"},
    },
}
N_WINDOWS = "2772"
"""The n of the thesis's tests (4.5); the overfit of table 5.2 has three windows."""
N_SONGS = 50
"""The songs behind those windows: MUSDB18-HQ's test set."""
