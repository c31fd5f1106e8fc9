"""A language model as text encoder: token ids in, one vector per token out."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmlib.hub import transformers
from mmlib.names import DataError


class TextEncoder(nn.Module):
    """A transformers model, trained with the system except for its embeddings.

    model: a folder that `save_pretrained` wrote, or a name on the hub. width: of the vectors.
    The text modality of the data holds token ids, one number per step (d = 1).
    """

    def __init__(self, model: str):
        super().__init__()
        try:
            self.model = transformers().AutoModel.from_pretrained(model, use_safetensors=True)
        except (OSError, ValueError) as e:
            raise DataError(f"text_encoder {model!r} is neither a folder with a model nor a name on the hub") from e
        (getattr(self.model, "embeddings", None) or self.model.get_input_embeddings()).requires_grad_(False)
        self.width = self.model.config.hidden_size
        self.tokens = self.model.config.vocab_size
        self.longest = self.model.config.max_position_embeddings

    def forward(self, ids: Float[Tensor, "B T _"], observed: Bool[Tensor, "B T"]) -> Float[Tensor, "B T h"]:
        """Raises DataError for features that are not token ids of this model."""
        if ids.shape[2] != 1 or bool((ids != ids.round()).any() | (ids < 0).any() | (ids >= self.tokens).any()):
            raise DataError(
                f"text_encoder reads token ids, one number per step from 0 to {self.tokens - 1}; "
                f"the text has {ids.shape[2]} numbers per step or other numbers"
            )
        if ids.shape[1] > self.longest:
            raise DataError(f"text_encoder reads {self.longest} tokens at most, the text has {ids.shape[1]}")
        return self.model(input_ids=ids[..., 0].long(), attention_mask=observed.long()).last_hidden_state
