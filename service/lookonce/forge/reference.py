"""The numpy reference: the untouched source, one picture at a time, decoded outside the graph."""

import numpy as np
from numpy.typing import NDArray

from lookonce.forge.recognise import Reading, run_source
from lookonce.forge.running import Execution
from lookonce.vision.heads import Decoded, Floats, Outputs, top_candidates


class Reference:
    """What a source means, without surgery."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._run = Execution(reading.probed.model, literal=True)

    def decoded(self, image: NDArray[np.uint8]) -> Decoded:
        """Every row of one picture [H,W,3]."""
        return self._reading.layout.decode(self.raw(image), self._reading.spec)

    def raw(self, image: NDArray[np.uint8]) -> Outputs:
        """The source's own tensors for one picture [H,W,3], in the order its layout reads them."""
        probed = self._reading.probed
        images = np.repeat(image[None], probed.picture.batch or 1, axis=0)
        outputs = run_source(self._run, probed.picture, self._reading.feeding, images, probed.source)
        by_name = dict(zip(probed.facts.names, outputs, strict=True))
        return [by_name[name][:1] for name in self._reading.output_names]

    def candidates(self, images: NDArray[np.uint8], k: int) -> Floats:
        """UINT8 [N,H,W,3] to FP32 [N,K,6]."""
        return np.concatenate([top_candidates(self.decoded(image), k) for image in images])
