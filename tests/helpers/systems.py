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
