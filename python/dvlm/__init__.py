"""Vision-language models that write a block of tokens per pass (Fast-dVLM), at the speed of memory.

    import dvlm
    model = dvlm.Model("Efficient-Large-Model/Fast_dVLM_3B")     # a folder, or a name that `dvlm pull` has fetched
    for piece in model.stream("What lies left of the cup?", images=["desk.png"]):
        print(piece, end="", flush=True)

The manual is docs/embedding.md.
"""

from dvlm._answers import Answer, Pass, Stream
from dvlm._dvlm import Error, version
from dvlm._model import Chat, Model
from dvlm._pictures import Frame

__version__ = version()
__all__ = ["Answer", "Chat", "Error", "Frame", "Model", "Pass", "Stream"]
