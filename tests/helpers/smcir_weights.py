"""The weights of mmlib's SMCIR under the names of the slow reference."""

from mmlib.models.smcir import MSSE


def affine(name, module):
    """Linear, LayerNorm, Conv1d; a convolution of kernel 1 is a linear map over channels."""
    weight = module.weight.detach()
    weight = weight[..., 0] if name.endswith(".fc") else weight
    return {f"{name}.weight": weight} | ({} if module.bias is None else {f"{name}.bias": module.bias.detach()})


def attention(name, module):
    return affine(f"{name}.qkv", module.qkv) | affine(f"{name}.out", module.out)


def encoder(name, module):
    w = affine(f"{name}.norm", module.norm)
    for i, layer in enumerate(module.layers):
        p = f"{name}.layers.{i}"
        w |= attention(f"{p}.attention", layer.attention) | affine(f"{p}.norm1", layer.norm1)
        w |= affine(f"{p}.norm2", layer.norm2) | affine(f"{p}.ffn.0", layer.ffn[0]) | affine(f"{p}.ffn.1", layer.ffn[2])
    return w


def aligner(name, module):
    w = affine(f"{name}.text", module.W_L) | affine(f"{name}.other", module.W_m) | affine(f"{name}.out", module.W_o)
    return w | encoder(f"{name}.encoder", module.transe.encoder)


def enhancer(name, module):
    w = affine(f"{name}.fc", module.fc) | affine(f"{name}.norm", module.norm)
    w |= affine(f"{name}.w1", module.W_1) | affine(f"{name}.w2", module.W_2)
    for k, convolution in zip((1, 3, 5), module.convolutions, strict=True):
        w |= affine(f"{name}.conv.{k}", convolution)
    return w


def core(name, module):
    w = affine(f"{name}.norm", module.norm) | encoder(f"{name}.encoder", module.transe.encoder)
    w |= affine(f"{name}.w1", module.W[0]) | affine(f"{name}.w2", module.W[2])
    w |= attention(f"{name}.attention", module.mha) | affine(f"{name}.last", module.norm_out)
    state = {k: v.detach() for k, v in module.bilstm.named_parameters()}
    for layer in range(module.bilstm.num_layers):
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            for part, old in (("input", "ih"), ("hidden", "hh")):
                for kind in ("weight", "bias"):
                    w[f"{name}.lstm.{layer}.{direction}.{part}.{kind}"] = state[f"{kind}_{old}_l{layer}{suffix}"]
    return w


def weights(system):
    w = affine("fuse.out", system.W_f) | affine("head.residual", system.residual) | affine("head.out", system.head)
    for m, linear in system.W.items():
        w |= affine(f"fuse.{m}", linear)
    for m, linear in (system.dmfd.project if system.dmfd else {}).items():
        w |= affine(f"detect.{m}", linear)
    for m, generator in system.cmcg.items():
        w |= core(f"{m}.gamma", generator.gamma)
        w |= aligner(f"{m}.align", generator.align) if generator.align else {}
        w |= enhancer(f"{m}.msse", generator.msse) if isinstance(generator.msse, MSSE) else {}
    return w
