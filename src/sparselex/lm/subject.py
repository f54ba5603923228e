"""The subject model: load any Hugging Face causal LM, read it, edit it."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from jaxtyping import Float, Int
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.lm.config import ModelConfig
from sparselex.lm.embedded import EMBEDDED
from sparselex.lm.hookpoints import HookPoint, Site, family_of, names, resolve, sites_of
from sparselex.lm.hooks import Edit, capturing, causal_positions, editing
from sparselex.lm.tokenizer import ModelTokenizer
from sparselex.lm.twins import CONTROLS

_HUB_TIMEOUT_S = 10


class Place(NamedTuple):
    """One site among those that a hook names side by side."""

    model: "SubjectModel"
    """The model that it is in."""

    hook: str
    """Its own hook."""

    columns: slice
    """Its columns in the values read."""


class Readout(NamedTuple):
    """The direct path from a site to the logits, up to the scale of the final norm."""

    write: Float[Tensor, "d_hook d_model"] | None
    """How the site writes to the residual stream; None where it is the stream."""

    unembed: Float[Tensor, "d_model n_vocab"]
    """Unembedding with the final norm's weight folded in, centred where that norm centres."""

    def logits(self, directions: Float[Tensor, "n d_hook"]) -> Float[Tensor, "n n_vocab"]:
        """Change of every logit per unit along each direction, the final norm's scale left out."""
        stream = directions if self.write is None else directions @ self.write
        return stream @ self.unembed


class SubjectModel:
    """A causal language model that can be captured and edited at named sites. Its weights are never changed."""

    def __init__(self, model: Any, tokenizer: ModelTokenizer, config: ModelConfig):
        """Wrap a model already in memory; `load_model` is the usual way in."""
        self.config, self.tokenizer, self.name = config, tokenizer, config.name
        self.hf: Any = model.eval().requires_grad_(False)
        text = self.hf.config.get_text_config()
        self.family: str = self.hf.config.model_type
        self.n_layers: int = text.num_hidden_layers
        self.d_model: int = text.hidden_size
        self.n_heads: int = text.num_attention_heads
        self.d_head: int = getattr(text, "head_dim", None) or self.d_model // self.n_heads
        self.n_vocab: int = text.vocab_size
        self.n_ctx: int = getattr(text, "max_position_embeddings", None) or 1 << 30
        self.device = next(model.parameters()).device

    @cached_property
    def id(self) -> str:
        """Hash of architecture and weights."""
        digest = hashlib.sha256(self.hf.config.to_json_string(use_diff=True).encode())
        for name, tensor in sorted(self.hf.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    @cached_property
    def _widths(self) -> dict[str, int]:
        return {}

    def hooks(self) -> list[HookPoint]:
        """Every canonical hook point of this model; empty for a family we do not know."""
        return [HookPoint(name, self.width(name)) for name in names(family_of(self.hf), self.n_layers)]

    def resolve(self, hook: str) -> Site:
        """The module that `hook` means. Raises `UserError` with the nearest names if there is none."""
        return resolve(hook, self.hf, self.n_layers)

    def width(self, hook: str) -> int:
        """Width of the values at `hook`, side by side where it names several sites: one token is run through the model
        to see."""
        if len(sites := sites_of(hook)) > 1:
            return sum(map(self.width, sites))
        if hook not in self._widths:
            known = set(names(family_of(self.hf), self.n_layers))
            wanted = sorted(known) if hook in known else [hook]
            found = self.capture(torch.zeros(1, 1, dtype=torch.long), wanted)
            self._widths.update({name: value.shape[-1] for name, value in found.items()})
        return self._widths[hook]

    def per_head(self, hook: str) -> tuple[int, int]:
        """Heads and width per head of a `attn.hook_q/k/v/z` site, in the order in which they are flattened."""
        if hook.rpartition(".")[2] not in ("hook_q", "hook_k", "hook_v", "hook_z"):
            raise UserError(f"{hook!r} is not divided into heads.", "attn.hook_q, _k, _v or _z", "choose such a site.")
        return self.width(hook) // self.d_head, self.d_head

    @torch.no_grad()
    def capture(
        self, tokens: Int[Tensor, "batch ctx"], hooks: Sequence[str]
    ) -> dict[str, Float[Tensor, "batch ctx _"]]:
        """Values at `hooks` in one pass that stops after the deepest of them.

        Queries and keys are as projected: before rotary embedding and, in Qwen 3 and Gemma 3, before their norms.
        Attention and MLP outputs are what is added to the residual stream. Raises `UserError` for an unknown hook or
        one that the forward pass never reaches.
        """
        sites = {hook: self.resolve(hook) for hook in hooks}
        tokens = tokens.to(self.device)
        with capturing(self.hf, sites, self.n_heads, (tokens.shape[0], tokens.shape[1])) as found:
            self._forward(tokens)
        if missing := sites.keys() - found.keys():
            raise UserError(
                f"The forward pass of {self.config.name} never reaches {', '.join(sorted(missing))}.",
                "a module that runs in every forward pass",
                "choose another module path.",
            )
        return found

    def read(self, tokens: Int[Tensor, "batch ctx"], hooks: Sequence[str]) -> dict[str, Float[Tensor, "batch ctx _"]]:
        """`capture`, where a hook may name several sites: their values then stand side by side."""
        found = self.capture(tokens, sorted({site for hook in hooks for site in sites_of(hook)}))
        return {hook: _side_by_side([found[site] for site in sites_of(hook)]) for hook in hooks}

    def places(self, hook: str) -> list[Place]:
        """The single sites that `hook` names, in the order in which they are read."""
        found, start = list[Place](), 0
        for site in sites_of(hook):
            found.append(Place(self, site, slice(start, start + self.width(site))))
            start = found[-1].columns.stop
        return found

    def logits(
        self, tokens: Int[Tensor, "batch ctx"], *, edits: Mapping[str, Edit] | None = None
    ) -> Float[Tensor, "batch ctx n_vocab"]:
        """Logits, with the values of the sites in `edits` replaced on the way.

        An edit takes and returns `[batch, ctx, width]`. Gradients flow through edits if the caller allows them.
        """
        edits = edits or {}
        tokens = tokens.to(self.device)
        sites = {hook: self.resolve(hook) for hook in edits}
        with editing(self.hf, sites, edits, self.n_heads, (tokens.shape[0], tokens.shape[1])):
            return self._forward(tokens).logits

    def readout(self, hook: str) -> Readout:
        """The direct path from `hook` to the logits. Raises `UserError` for a site that does not write to the
        stream."""
        family = family_of(self.hf)
        site = hook.partition(".")[2].partition(".")[2]
        straight = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")
        if family is None or site not in (*straight, "attn.hook_z", "mlp.hook_post"):
            raise UserError(
                f"{hook!r} does not write to the residual stream in one linear step.",
                "a residual, output, hook_z or mlp.hook_post site of a known architecture",
                "leave logit effects out for this hook.",
            )
        write = None if site in straight else self._projection(self.resolve(hook))
        return Readout(write, self._unembed(family.final_norm, family.norm_offset))

    def _projection(self, site: Site) -> Tensor:
        module = self.hf.get_submodule(site.path)
        weight = module.weight.detach().float()
        return weight if type(module).__name__ == "Conv1D" else weight.T

    def _unembed(self, norm_path: str, offset: float) -> Tensor:
        unembed = self.hf.get_output_embeddings().weight.detach().float().T
        norm = self.hf.get_submodule(norm_path)
        if unembed.shape[0] != self.d_model:
            raise UserError(
                f"{self.config.name} projects the stream before its unembedding.",
                "an unembedding of the stream itself",
                "leave logit effects out for this model.",
            )
        if getattr(norm, "weight", None) is not None:
            unembed = unembed * (norm.weight.detach().float() + offset)[:, None]
        return unembed - unembed.mean(0, keepdim=True) if isinstance(norm, nn.LayerNorm) else unembed

    def _forward(self, tokens: Tensor):
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self.n_vocab):
            raise UserError(
                f"Token ids run from {int(tokens.min())} to {int(tokens.max())}.",
                f"ids from 0 to {self.n_vocab - 1}",
                "use the corpus and the model of one tokenizer.",
            )
        return self.hf(input_ids=tokens, attention_mask=causal_positions(tokens), use_cache=False)


def _side_by_side(values: Sequence[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else torch.cat(list(values), dim=-1)


def load_model(config: ModelConfig | str) -> SubjectModel:
    """Load a model and its tokenizer by configuration or by name.

    Raises `UserError` for a name or folder that cannot be loaded, damaged weights, or remote code not asked for.
    """
    if isinstance(config, str):
        config = ModelConfig(name=config)
    _check_device(config.device)
    where = str(EMBEDDED.get(config.name, config.name))
    with _quiet():
        try:
            options = {"trust_remote_code": config.trust_remote_code, "local_files_only": not _reachable(where)}
            model = transformers.AutoModelForCausalLM.from_pretrained(
                where, dtype=getattr(torch, config.dtype), **options
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
        except Exception as error:  # a door: the library raises many kinds, all meaning "this cannot be loaded"
            raise _unloadable(config, error) from None
    if config.control != "none":
        CONTROLS[config.control](model, config.control_seed)
    return SubjectModel(model.to(config.device), ModelTokenizer(tokenizer), config)


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, dtype=torch.float64, device=name).cpu()  # scales and thresholds are kept in float64
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:  # each for another absent device
        raise UserError(
            f"The device {name!r} cannot be used: {str(error).splitlines()[0]}",
            "a device that this PyTorch finds on this machine",
            "use --device cpu.",
        ) from None


def _reachable(where: str) -> bool:
    """Whether the hub answers for this name; asked once, where the loader would ask for each file and retry for half a
    minute.

    Raises what the hub says of a name that it does not know.
    """
    if Path(where).is_dir():
        return False
    try:
        HfApi().model_info(where, timeout=_HUB_TIMEOUT_S)
    except (HFValidationError, RepositoryNotFoundError):
        raise
    except Exception:  # no network, or told to stay offline: what was downloaded earlier may do
        return False
    return True


def _unloadable(config: ModelConfig, error: Exception) -> UserError:
    reason = str(error).strip().splitlines()
    kind = "folder" if Path(config.name).is_dir() else "name"
    return UserError(
        f"The model {kind} {config.name!r} cannot be loaded: {reason[0] if reason else type(error).__name__}",
        "`embedded`, `embedded-b`, a folder with config.json, weights and tokenizer, or a reachable Hugging Face name",
        "check the spelling, the files and the network; --trust-remote-code allows code that comes with the weights.",
    )


class _quiet:
    """Silence the loader's own progress bar and notices: ours say what matters."""

    def __enter__(self) -> None:
        self._level = transformers.logging.get_verbosity()
        self._bar = transformers.logging.is_progress_bar_enabled()
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        transformers.logging.set_verbosity(self._level)
        if self._bar:
            transformers.logging.enable_progress_bar()
