"""Which of the two languages of the embedded scorer is a text written in? By script, then by its words.

Small on purpose: py3langid 0.4 (offline, no pickle) was tried. It is good from four words on, but it knows nothing of single
words ("idiot", "Loser"), calls a tenth of Taiwanese texts Cantonese or Wu, and takes seconds to load.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal

from studio.config import ROOT
from studio.ml.chinese import SIMPLIFIED, TRADITIONAL

Language = Literal["en", "zh"]
WORDS = ROOT / "data" / "toxicity" / "words-en.txt"

# What is no prose: addresses, mail, code in backticks, @names, #tags stay out of the count.
_NO_PROSE = re.compile(r"https?://\S+|www\.\S+|\S+@\S+\.\w+|```.*?(?:```|$)|`[^`\n]*`|(?<!\w)@\w+", re.S)
_CODE = re.compile(r"[{}<>=;\\_|]|\w\(|\)\.|\w\.\w+\(|::|->|^\s*(?:#include|import |def |class |from \w+ import)", re.M)
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile("[\u3040-\u309f\u30a0-\u30fa\u30fd-\u30ff\u31f0-\u31ff]")
_FOREIGN_LETTER = re.compile(
    "[\u0370-\u052f\u0530-\u1cff\u1100-\u11ff\u1f00-\u1fff\u2c00-\u2dff\ua000-\uabff\uac00-\ud7ff\ufb1d-\ufdff\ufe70-\ufeff]"
)
_WORD = re.compile(r"[a-z\u00df-\u024f\u1e00-\u1eff]+(?:'[a-z]+)?")
_ACCENTED = re.compile("[\u00df-\u024f\u1e00-\u1eff]")
_LATIN_RUN = re.compile(r"[a-z\u00c0-\u024f\u1e00-\u1eff]", re.I)

#: Function words of languages in Latin letters, those that English also writes left out.
_FOREIGN = frozenset(
    # German, Dutch
    "ich du er sie wir ihr und oder aber nicht kein keine ist sind bist bin war waren der die das den dem des ein eine einen einem "
    "mit auf für von zu zum zur im auch nur noch schon sehr wie wenn weil dass mich dich mir dir dein deine mein meine halt mal doch "
    "hier dort heute morgen gut schlecht warum wer wo jetzt immer nie über unter aus bei nach "
    "ik jij je hij zij wij jullie het een en niet geen ben bent zijn was met voor van naar op ook maar wat waarom hoe dit dat heel "
    # French
    "je tu il elle nous vous ils elles le la les un une des du de et ou mais ne pas est sont suis es être avoir dans sur pour par avec "
    "ce cette ces mon ma mes ton ta tes son sa ses qui que quoi quand où très trop aussi plus moi toi lui ça c'est j'ai t'es d'un l'on "
    "merci bonjour oui non "
    # Spanish, Portuguese, Italian
    "yo tú él ella nosotros ustedes el los las una unos y o pero no es son soy eres está estás estoy en con por para como qué quién "
    "muy más también mi tu su te me se lo del al que si porque cuando gracias hola sí eso esto todo nada "
    "eu você ele ela nós eles os as um uma e mas não é são sou está em no na nos nas do da dos das com por seu sua meu minha muito "
    "mais também isso isto quando obrigado sim "
    "io lui lei noi voi loro gli uno ed ma sono sei è siamo di nel della dello degli che chi cosa perché molto anche questo quello "
    "sei ti mi ci si più come dove quando grazie ciao sì "
    # Indonesian, Malay, Tagalog, Vietnamese without accents
    "saya aku kamu anda dia kami kita mereka yang dan atau tapi tidak bukan adalah ini itu di ke dari untuk dengan pada sangat sekali "
    "juga akan sudah belum bisa ada apa siapa mengapa kenapa banget gak nggak lagi orang seperti "
    "ako ikaw ka siya kami tayo sila ang ng mga sa hindi oo po ito iyan kung pero dahil naman lang ba mo ko "
    # Swedish, Danish, Norwegian, Finnish
    "jag du han hon vi ni och eller men inte är var att det den som på för med av till mycket också jeg ikke og er på af til meget "
    "minä sinä hän me te he ja tai mutta ei on olen olet ovat se tämä että kun niin myös "
    # Polish, Czech, Turkish, Hungarian, Romanian
    "ja ty on ona my wy oni i lub ale nie jest są jestem jesteś w z na do że się to co jak bardzo tak "
    "já není jsem jsi jsou že se ale velmi "
    "ben sen o biz siz onlar ve veya ama değil bir bu şu için ile çok mi mı da ne neden nasıl var yok "
    "én te ő mi ti ők és vagy de nem van egy az ez hogy nagyon "
    "eu tu el ea noi voi ei și sau dar nu este sunt sînt în cu pe pentru foarte".split()
) - frozenset(
    "i a an me he on do no to as has so at is in it we us was war die dies or be by of am ben per den son sur ton ten mes men "
    "se es en de la le el los las un par pour plus a o e y ma mi ya ne w z ti te ta da na di ci si san or pas man van ale dare "
    "her im all tag mal hat wit not her are sang lang seen rat hell gut still kind hier elle voi loco non sans com ad mas come "
    "sei ed lo era sono chi than then min set art gift ask see sees done dare pore more once ion pan red sin ten van noon age "
    "due nut rot sit hoe was wet ding pop lot bang do hem bad fat dun but".split()
)
#: Words so common that they alone make a text English; none is a function word above.
_ENGLISH = frozenset(
    "the be to of and a in that have i it for not on with he as you do at this but his by from they we say her she or an will my one "
    "all would there their what so up out if about who get which go me when make can like time no just him know take people into year "
    "your good some could them see other than then now look only come its over think also back after use two how our work first well "
    "way even new want because any these give day most us is are was were been has had did does am i'm you're it's don't can't isn't "
    "aren't won't i'll i've you've he's she's that's what's there's let's didn't doesn't wasn't should must may might very too here "
    "where why yes please thanks thank never always nothing something everything everyone nobody anybody somebody u ur lol omg wtf "
    "btw idk imo thx pls plz brb afk gg ez ok okay hey hi hello bye yeah yep nope nah wow ugh oh ah hmm haha ha stop shut off down "
    "still own such through before between both being each few more same those under again once during while until against".split()
)


@cache
def _known_words() -> frozenset[str]:
    """The English words of the classifier's own training texts and test-independent word list."""
    return _ENGLISH | frozenset(WORDS.read_text(encoding="utf-8").split())


def languages(text: str) -> tuple[Language, ...]:
    """The covered languages of ``text`` (normalised or not): (), ("en",), ("zh",) or both for a mixed text.

    A text without words (emoji, numbers, addresses), code, and any other language gives ().
    """
    text = _NO_PROSE.sub(" ", text)
    han, kana = len(_HAN.findall(text)), len(_KANA.findall(text))
    foreign = len(_FOREIGN_LETTER.findall(text))
    latin = len(_LATIN_RUN.findall(text))
    found: list[Language] = []
    # A lone の is fashion in Taiwan, two kana in ten characters are Japanese. A Chinese character holds about as much as four letters.
    if han and kana * 5 <= han and foreign <= han and latin <= han * 24:
        found.append("zh")
    if kana * 5 <= max(han, latin / 4) and foreign * 2 <= latin and _is_english(text):
        found.append("en")
    return tuple(found)


def written_in(text: str) -> Literal["traditional", "simplified", "either"]:
    """Which Chinese characters ``text`` uses; "either" where all of them are common to both."""
    simple = sum(char in SIMPLIFIED for char in text)
    traditional = sum(char in TRADITIONAL for char in text)
    return "either" if simple == traditional == 0 else "simplified" if simple > traditional else "traditional"


def _is_english(text: str) -> bool:
    words = _WORD.findall(text.lower().replace("’", "'"))
    if not words:
        return False
    if len(_CODE.findall(text)) * 3 > len(words):
        return False
    known = _known_words()
    hits = sum(word in known or _stem(word) in known for word in words)
    common = sum(word in _ENGLISH for word in words)
    others = sum(word in _FOREIGN for word in words) + sum(bool(_ACCENTED.search(word)) for word in words)
    # Loan words, names and slang are unknown words too: in a sentence a third of known ones is enough, if no other
    # language shows; a text of one or two words must be known.
    return hits > 0 and hits >= len(words) / (3 if len(words) > 2 else 1.5) and max(hits, 2 * common) > 2 * others


def _stem(word: str) -> str:
    """``word`` without an English ending, roughly: what is needed to find a plural in a list of singulars."""
    for ending in ("'s", "ies", "es", "s", "ing", "ed", "ly", "er", "d"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)] + ("y" if ending == "ies" else "")
    return word
