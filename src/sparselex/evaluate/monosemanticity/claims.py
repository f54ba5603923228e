"""What "Towards Monosemanticity" (Bricken et al. 2023) claims, its figures, and by which rule ours bear that out. All
that the paper says is told in words of our own; numbers are the paper's."""

from collections.abc import Callable
from typing import NamedTuple

from sparselex.evaluate.monosemanticity import judges
from sparselex.evaluate.monosemanticity.judges import Found, Verdict


class Row(NamedTuple):
    """One figure that is shown."""

    role: str
    """Whose, a field of `Roles`."""

    name: str
    """Its name; `{main}` and the like stand for names of runs."""

    words: str
    """What it is."""

    paper: str = ""
    """The paper's."""


class Claim(NamedTuple):
    """One claim."""

    name: str
    """Short name, used in addresses."""

    title: str
    """What it is about."""

    claim: str
    """What the paper says."""

    rows: tuple[Row, ...]
    """Figures that are shown."""

    judge: Callable[[Found], Verdict]
    """By which rule they bear it out."""

    why: str
    """Why they may differ from the paper's."""

    pages: tuple[tuple[str, str], ...]
    """Pages as roles and last parts of addresses."""


_LESS_TRAINING = (
    "Ours saw a few million vectors and the paper's eight billion; the model is as small, its text a library of "
    "program code in place of the Pile."
)

CLAIMS = (
    Claim(
        "loss",
        "How much of the model the dictionary explains",
        "Of the loss that the MLP accounts for, 4,096 latents recover 79 % with fewer than some 10 to 20 of them "
        "active on a token; wider dictionaries recover more, 131,072 latents 94.5 %.",
        (
            Row("main", "core/loss_recovered_zero", "loss recovered, against zero", "0.79"),
            Row("narrow", "core/loss_recovered_zero", "the same of the narrow dictionary"),
            Row("wide", "core/loss_recovered_zero", "the same of the wide one", "0.945 (131,072 latents)"),
            Row("other", "core/loss_recovered_zero", "the same of the other model"),
            Row("main", "core/loss_recovered_mean", "loss recovered, against the mean"),
            Row("main", "core/l0", "active latents of a token", "10 to 20"),
            Row("narrow", "core/l0", "the same of the narrow dictionary"),
            Row("wide", "core/l0", "the same of the wide one"),
            Row("main", "explained/loss_recovered_mean", "loss recovered by what the explanations alone predict"),
        ),
        judges.loss,
        f"{_LESS_TRAINING} With weights drawn apart the penalty first drives everything down, and what is left "
        "has to grow; a wide dictionary is furthest from done.",
        (("main", ""), ("narrow", ""), ("wide", ""), ("other", "")),
    ),
    Claim(
        "census",
        "Dead latents and the cluster of very low density",
        "Of 4,096 latents 168 were dead over 100 million tokens and 292 in a second cluster of very low density, "
        "of which hardly any could be understood.",
        (
            Row("main", "census/dead_share", "share of dead latents", "0.041"),
            Row("narrow", "census/dead_share", "the same of the narrow dictionary"),
            Row("wide", "census/dead_share", "the same of the wide one"),
            Row("main", "census/ultralow_share", "share in the cluster of very low density", "0.071"),
            Row("main", "census/single_token_share", "share whose strongest examples are one token"),
        ),
        judges.census,
        "Resampling ends at a tenth of the run, in ours before the dictionary has settled: latents that fall "
        "silent after it stay so. Over five million tokens a density below one in a million cannot be told from "
        "none.",
        (("main", "census"), ("narrow", "census"), ("wide", "census")),
    ),
    Claim(
        "concepts",
        "Features are specific to concepts",
        "Features for Arabic script, DNA, base64 and Hebrew: where the one for Arabic is highly active 98 % of "
        "the tokens are Arabic, and activations correlate with the concept by 0.74, 0.80, 0.38 and 0.55. No "
        "neuron is like that.",
        (
            Row(
                "main", "proxies/specific_share", "concepts with a feature of specificity above 0.9 at high activation"
            ),
            Row("main", "proxies/specificity_high", "mean specificity at high activation", "0.98 (Arabic)"),
            Row("main", "proxies/sensitivity", "mean correlation with the concept", "0.38 to 0.80"),
        ),
        judges.concepts,
        "The text has hardly any script but Latin, so the concepts are those of program code; some are one "
        "token, which any dictionary finds, one of shuffled weights too.",
        (("main", "proxies"),),
    ),
    Claim(
        "neurons",
        "Features are not neurons",
        "The features have large coefficients on many neurons (27 of 0.1 or more for Arabic), and the neurons "
        "that go best with them correlate weakly (0.18 for base64, 0.10 for Hebrew).",
        (
            Row("main", "neurons/n_large", "coefficients of 0.1 or more, median", "27 (Arabic)"),
            Row("main", "neurons/largest", "largest coefficient, median"),
            Row("main", "neurons/aligned_share", "share of latents that are one neuron"),
            Row("main", "neurons/correlation", "correlation with the best neuron, median", "0.10 to 0.18"),
        ),
        judges.neurons,
        "The paper's are four hand-picked features, ours the median of all.",
        (("main", "neurons"),),
    ),
    Claim(
        "explanations",
        "Features are easier to explain than neurons",
        "Explained and scored by a language model, features score far above neurons on activations; people give "
        "the median interval of a feature 12 of 14 points and that of a neuron 0.",
        (
            Row("main", "explain/rule/f1", "F1 of rules, explained latents"),
            Row("main", "intervals/spearman_median", "Spearman correlation of activation and prediction, median"),
            Row("main", "intervals/whole_range", "latents whose rule holds over the whole range of activation"),
        ),
        judges.against_neurons,
        "Our explainer is a rule without a language model, whose words and predictions are one object; "
        "`sparselex explain --llm` asks one. The rubric of people is a page of the browser and empty until "
        "somebody fills it in.",
        (("main", "intervals"), ("main", "rubric")),
    ),
    Claim(
        "logits",
        "Explanations tell what a feature predicts",
        "From the explanation alone a language model tells the tokens that a feature raises from others in 74 % "
        "(neurons 58 %, shuffled weights 50 % in the median).",
        (
            Row("main", "logits/accuracy_median", "tokens rightly told, median", "0.74"),
            Row("main", "logits/accuracy_mean", "the same, mean", "0.74"),
        ),
        judges.logits,
        "Who answers here knows the rule and what follows it in the training text, and no more; logit weights "
        "are full of interference.",
        (("main", "logits"),),
    ),
    Claim(
        "random",
        "A model of shuffled weights has features too",
        "Trained on a model whose weights were shuffled within each matrix, a dictionary has many features of "
        "single tokens and a higher median score of its explanations than that of the trained model.",
        (
            Row("main", "intervals/spearman_median", "rank correlation of rule and activation, median"),
            Row("main", "intervals/spearman_median_single_token", "the same of latents of a single token"),
            Row("main", "intervals/spearman_median_of_more_tokens", "the same of the others"),
            Row("main", "census/single_token_share", "share of latents of single tokens, trained weights"),
        ),
        judges.shuffled_weights,
        "Activations of shuffled weights are of another size: under the same coefficient their dictionary has another "
        "sparsity, and few of its latents may be active often enough to be explained.",
        (("main", "intervals"),),
    ),
    Claim(
        "ablation",
        "The model uses its features",
        "Taking single features out changes the predictions of the tokens that follow as their interpretation says.",
        (
            Row("main", "causal/used_share", "latents whose ablation exceeds random directions of their size"),
            Row("main", "causal/specific_share", "whose ablation exceeds their direction added where they are silent"),
            Row("main", "causal/effect_ratio", "effect over that of random directions, median"),
        ),
        judges.ablation,
        "The paper shows it of single features; each feature's page has that view.",
        (("main", ""),),
    ),
    Claim(
        "pinned",
        "Pinned features steer the text",
        "Held at its largest activation, a feature makes the model write the text that it stands for.",
        (
            Row("main", "pinned/more_than_random", "latents more active on their own pinned text than on another's"),
            Row("main", "pinned/raises_more_than_random", "latents of whose raised tokens their pinned text has more"),
            Row("main", "pinned/active_share", "share of tokens on which the latent is active"),
        ),
        judges.pinned,
        "The paper shows four features of the best; ours are half drawn at random. Our model has learned little "
        "of what needs more than a few tokens.",
        (("main", "pinned"),),
    ),
    Claim(
        "universality",
        "Features are universal",
        "Between two models of other seeds a feature correlates with its nearest by 0.72 in the median, a neuron "
        "with its nearest by 0.46.",
        (
            Row("main", "universality/{other}/features", "latents, median", "0.72"),
            Row("main", "universality/{other}/neurons", "neurons, median", "0.46"),
            Row("main", "universality/{other}/advantage", "the former less the latter", "0.26"),
            Row(
                "main",
                "universality/{other}/features_where_chosen",
                "latents, judged where matches were chosen, as the paper does",
            ),
        ),
        judges.universality,
        f"{_LESS_TRAINING} Our matches are judged on other documents than those that chose them.",
        (("main", "universality"),),
    ),
    Claim(
        "attribution",
        "What universal features do is universal, their logit weights are not",
        "Correlations of attribution vectors follow those of activations closely; correlations of logit weights "
        "hardly do, since interference dominates them.",
        (
            Row("main", "universality/{other}/attribution", "attribution vectors of pairs, median"),
            Row("main", "universality/{other}/attribution_follows", "attribution follows activation, rank correlation"),
            Row(
                "main", "universality/{other}/logit_weights_follow", "logit weights follow activation, rank correlation"
            ),
        ),
        judges.attribution,
        "",
        (("main", "universality"),),
    ),
    Claim(
        "splitting",
        "Features split in wider dictionaries",
        "One feature for base64 among 512 becomes three among 4,096 and many among 16,384; links of 0.4 or more "
        "make a graph that splits and merges.",
        (
            Row(
                "main",
                "splitting/{narrow}/{main}/close_split",
                "narrow latents with two close wide ones or more, first step",
            ),
            Row("main", "splitting/{main}/{wide}/close_split", "the same, second step"),
            Row("main", "splitting/{narrow}/{main}/split", "linked to two or more at the paper's 0.4, first step"),
            Row("main", "splitting/{narrow}/{main}/children_mean", "wide latents linked to a narrow one, mean"),
            Row("main", "splitting/{narrow}/{main}/merged", "wide latents linked to two narrow ones or more"),
            Row("main", "map/{narrow}-to-{main}/same_cluster", "narrow latents whose nearest lies in their cluster"),
        ),
        judges.splitting,
        "Latents that are active often are linked at 0.4 with many, of their own dictionary too; close links "
        "(0.8) tell the two apart.",
        (("main", "splitting"), ("main", "relatives"), ("main", "map/together")),
    ),
    Claim(
        "automata",
        "Features form finite-state automata",
        "A feature raises tokens on which another is active next: loops of one, two or four states write base64, "
        "capitals with underscores, HTML. They are simplest in the narrow dictionary.",
        (
            Row("narrow", "automata/automata", "automata of two states or more, narrow dictionary", "4 shown"),
            Row("main", "automata/automata", "the same of the dictionary that is looked at"),
            Row("main", "automata/self_loops", "latents that lead to themselves"),
            Row("main", "automata/leads", "leads"),
        ),
        judges.automata,
        "The paper gives no algorithm; ours has a threshold by shuffled text.",
        (("narrow", "automata"), ("main", "automata")),
    ),
)
"""In the order of the report."""
