"""Raw files to features: encoders, the manifest that lists the files, and the run that fills an archive."""

from mmlib.encode.encode import encode, main
from mmlib.encode.encoders import Encoder, clip_encoders, custom, tokens
from mmlib.encode.manifest import Manifest, manifest
