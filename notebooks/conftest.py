"""For `pytest --nbval notebooks`: what the kernels of the lessons inherit, so that they print what is stored."""

import os

SURROUNDINGS = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "SEGLAB_WIDGETS": "static",
    "TQDM_DISABLE": "1",
}
for name, value in SURROUNDINGS.items():
    os.environ.setdefault(name, value)
