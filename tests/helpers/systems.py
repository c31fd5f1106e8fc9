"""Arguments that make each system small enough for tests."""

TINY_UMDF = {"d": 8, "heads": 2, "layers": 1, "depth": 1}
TINY_ADMC = {"d": 8, "fusion_heads": 2, "fusion_layers": 1, "dropout": 0.0}
TINY_ADN = {"heads": 2, "layers": 1, "N": 12, "start": 4}
TINY_SMCIR = {"d": 8, "width": 6, "lstm_layers": 1, "layers": 1, "heads": 2, "statistics": "running"}
TINY_SHASPEC = {"d": 8}
TINY_M3CARE = {"d": 8, "heads": 2, "bank": 20, "reference": "bank"}
TINY_TATE = {"d": 8, "heads": 2}
TINY_TRANSM = {"d": 8, "heads": 2, "layers": 1}
TINY_MCTN = {"hidden": 8}
TINY_SMIL = {"d": 8, "centroids": 4}
TINY_GCNET = {"d": 16, "dropout": 0.1}
TINY_EMT = {"d": 8, "heads": 2, "layers": 2}
TINY_DLF = {"d": 8, "heads": 2, "layers": 1, "length": 4}
TINY_MFMB = {"d": 8, "heads": 2, "layers": 1, "tokens": 2}
TINY_MULT = {"d": 8, "heads": 2, "layers": 1, "memory": 1}
TINY_MPLMM = TINY_MULT | {"prompts": 3}
TINY_SELF_MM = {"d": 8}
TINY_CUBEMLP = {"d": 8, "length": 5}
TINY_CLGSI = {"d": 8}
