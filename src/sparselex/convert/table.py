"""The names of other projects' formats, which can be read, and of layouts, which can be written. Nothing here loads
PyTorch."""

from typing import Any

from sparselex.base.registry import Registry

BARE_NAME = "tensors"
"""The format of tensors by themselves."""

FORMATS: Registry[Any] = Registry(
    "format",
    {
        "sparselex": "sparselex.convert.own:SPARSELEX",
        "saelens": "sparselex.convert.saelens:SAELENS",
        "sparsify": "sparselex.convert.sparsify:SPARSIFY",
        "dictionary_learning": "sparselex.convert.dictionary_learning:DICTIONARY_LEARNING",
        "crosscoder_learning": "sparselex.convert.crosscoder_learning:CROSSCODER_LEARNING",
        "llama_scope": "sparselex.convert.llama_scope:LLAMA_SCOPE",
        "llamascopium": "sparselex.convert.llama_scope:LLAMASCOPIUM",
        "gemma_scope": "sparselex.convert.gemma_scope:GEMMA_SCOPE",
        "gemma_scope_2": "sparselex.convert.gemma_scope:GEMMA_SCOPE_2",
        "circuit-tracer": "sparselex.convert.circuit_tracer:CIRCUIT_TRACER",
        "circuit-tracer-clt": "sparselex.convert.circuit_tracer:CIRCUIT_TRACER_CLT",
        "openai": "sparselex.convert.openai:OPENAI",
        BARE_NAME: "sparselex.convert.bare:BARE",
    },
)
"""`formats.Format` by name, in the order in which they are tried. Other packages add theirs through entry points of the
group `sparselex.format`."""

LAYOUTS: Registry[Any] = Registry(
    "layout",
    {
        "saelens": "sparselex.convert.saelens:write_saelens",
        "sparsify": "sparselex.convert.sparsify:write_sparsify",
        "circuit-tracer": "sparselex.convert.circuit_tracer:write_circuit_tracer",
    },
)
"""`formats.Writer` by name. Other packages add theirs through entry points of the group `sparselex.layout`."""
