"""Random geometry and colour for a picture and its mask, drawn from (seed, epoch, index) and nothing else.

One sampler draws the parameters; two executors apply them: all geometry composed into one warp, all colour into one
3x4 matrix, blur and noise when drawn. So a picture is resampled once, and the same (seed, epoch, index) gives the same
result in any order, with any number of workers, and after a resume. `apply` is for one picture on the processor,
`apply_batch` for a batch on a GPU; they agree to rounding, see there.
"""

from seglab.augmentation._batches import apply_batch
from seglab.augmentation._draws import Parameters, draw
from seglab.augmentation._pictures import apply

__all__ = ["Parameters", "apply", "apply_batch", "draw"]
