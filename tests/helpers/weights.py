"""Parameters of a system under the names that its independent reference uses."""

import torch


def simc_weights(system):
    """For tests.reference.simc."""
    named = {}

    def put(name, module):
        named[f"{name}.weight"], named[f"{name}.bias"] = module.weight, module.bias

    def linears(module):
        return [layer for layer in module if isinstance(layer, torch.nn.Linear)]

    for name, net in (("s12", system.S12), ("s21", system.S21), ("head", system.g)):
        for i, layer in enumerate(linears(net)):
            put(f"{name}.{i}", layer)
    put("project1", system.project[0])
    put("project2", system.project[1])
    for i, (attention, norm) in enumerate(zip(system.attention, system.norm)):
        named[f"attention{i}.in_proj_weight"] = attention.qkv.weight
        named[f"attention{i}.in_proj_bias"] = attention.qkv.bias
        put(f"attention{i}.out_proj", attention.out)
        put(f"norm{i}", norm)
    if isinstance(system.after, torch.nn.Sequential):
        put("after", system.after[0])
    return named


def renamed(module, *changes):
    """Parameters by name, in which each pair of `changes` (old, new) is replaced, in this order."""
    weights = {}
    for name, value in module.named_parameters():
        for old, new in (*changes, (".layers.", "."), ("ffn.2.", "ffn.1.")):
            name = name.replace(old, new)
        weights[name] = value
    return weights


def trunk_weights(trunk):
    """Of MulT's trunk, for tests.reference.mult."""
    weights = {}
    for name, value in renamed(trunk).items():
        part, m, *rest = name.split(".")
        name = crossmodal(f"cross.{rest[0]}.{m}.{'.'.join(rest[1:])}") if part == "crossmodal" else name
        weights[name] = value
    return weights


def crossmodal(name):
    """The names of a crossmodal encoder in tests.reference.mult."""
    return name.replace(".norm1.", ".norm.").replace(".norm2.", ".norm_ffn.")
