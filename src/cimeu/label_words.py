"""Usual words for emotions in ten languages: offered where a table has them, never applied in silence.

What an annotator meant by a word is known to the annotator: `Angst` is fear in German and in Dutch, anxiety to an
English reader. A command that meets such a word stops and prints the option that would translate it.
"""

from collections.abc import Iterable, Mapping
from unicodedata import normalize

from cimeu.errors import UnknownLabel, guess
from cimeu.labels import ALIASES, KNOWN_EMOTIONS, canonical

WORDS: dict[str, dict[str, str]] = {
    "German": {
        "anger": "wut zorn ärger wütend zornig ärgerlich verärgert",
        "boredom": "langeweile gelangweilt",
        "calm": "ruhe ruhig gelassen",
        "contempt": "verachtung verächtlich",
        "disgust": "ekel abscheu angeekelt angewidert",
        "fear": "angst furcht ängstlich furchtsam",
        "happiness": "freude glück fröhlich glücklich freudig",
        "neutral": "neutralität neutral",
        "sadness": "trauer traurigkeit traurig",
        "surprise": "überraschung erstaunen überrascht erstaunt",
    },
    "French": {
        "anger": "colère fâché fâchée",
        "boredom": "ennui ennuyé ennuyée",
        "calm": "calme",
        "contempt": "mépris méprisant",
        "disgust": "dégoût dégoûté dégoûtée",
        "fear": "peur crainte apeuré apeurée effrayé effrayée",
        "happiness": "joie bonheur joyeux joyeuse heureux heureuse",
        "neutral": "neutre neutralité",
        "sadness": "tristesse triste",
        "surprise": "surpris étonnement étonné",
    },
    "Spanish": {
        "anger": "ira enojo enfado rabia enojado enojada enfadado enfadada",
        "boredom": "aburrimiento aburrido aburrida",
        "calm": "calma tranquilo tranquila",
        "contempt": "desprecio",
        "disgust": "asco disgusto repugnancia",
        "fear": "miedo temor asustado asustada",
        "happiness": "alegría felicidad alegre feliz contento contenta",
        "neutral": "neutro neutra neutralidad",
        "sadness": "tristeza triste",
        "surprise": "sorpresa sorprendido sorprendida",
    },
    "Italian": {
        "anger": "rabbia collera arrabbiato arrabbiata",
        "boredom": "noia annoiato annoiata",
        "calm": "calma calmo",
        "contempt": "disprezzo",
        "disgust": "disgusto disgustato disgustata",
        "fear": "paura impaurito impaurita spaventato spaventata",
        "happiness": "gioia felicità felice allegro allegra",
        "neutral": "neutro neutra neutrale neutralità",
        "sadness": "tristezza triste",
        "surprise": "sorpresa sorpreso",
    },
    "Portuguese": {
        "anger": "raiva ira zangado zangada irritado irritada",
        "boredom": "tédio entediado entediada",
        "calm": "calma calmo",
        "contempt": "desprezo",
        "disgust": "nojo repulsa",
        "fear": "medo temor assustado assustada",
        "happiness": "alegria felicidade feliz alegre",
        "neutral": "neutro neutra neutralidade",
        "sadness": "tristeza triste",
        "surprise": "surpresa surpreso",
    },
    "Dutch": {
        "anger": "boosheid woede boos kwaad",
        "boredom": "verveling verveeld",
        "calm": "kalm rustig",
        "contempt": "minachting",
        "disgust": "walging afschuw afkeer",
        "fear": "angst bang angstig",
        "happiness": "blijdschap vreugde geluk blij gelukkig",
        "neutral": "neutraal",
        "sadness": "verdriet droefheid verdrietig bedroefd",
        "surprise": "verrassing verbazing verrast verbaasd",
    },
    "Polish": {
        "anger": "złość gniew zły zła",
        "boredom": "nuda znudzony znudzona",
        "calm": "spokój spokojny spokojna",
        "contempt": "pogarda",
        "disgust": "wstręt obrzydzenie odraza",
        "fear": "strach lęk przestraszony przestraszona",
        "happiness": "radość szczęście szczęśliwy szczęśliwa radosny radosna",
        "neutral": "neutralny neutralna neutralność",
        "sadness": "smutek smutny smutna",
        "surprise": "zaskoczenie zdziwienie zaskoczony zaskoczona",
    },
    "Turkish": {
        "anger": "öfke kızgınlık kızgın öfkeli",
        "boredom": "sıkıntı sıkılmış",
        "calm": "sakin sakinlik",
        "contempt": "küçümseme",
        "disgust": "iğrenme tiksinme",
        "fear": "korku korkmuş",
        "happiness": "mutluluk sevinç mutlu neşeli",
        "neutral": "nötr",
        "sadness": "üzüntü üzgün hüzün",
        "surprise": "şaşkınlık sürpriz şaşkın şaşırmış",
    },
    "Russian": {
        "anger": "гнев злость злой злая",
        "boredom": "скука",
        "calm": "спокойствие спокойный",
        "contempt": "презрение",
        "disgust": "отвращение",
        "fear": "страх испуг",
        "happiness": "радость счастье радостный счастливый",
        "neutral": "нейтральный нейтральность нейтрально",
        "sadness": "грусть печаль грустный печальный",
        "surprise": "удивление удивлённый",
    },
    "Chinese": {
        "anger": "愤怒 生气 憤怒 生氣",
        "boredom": "无聊 無聊",
        "calm": "平静 平靜",
        "contempt": "轻蔑 鄙视 輕蔑 鄙視",
        "disgust": "厌恶 厭惡 恶心 噁心",
        "fear": "恐惧 害怕 恐懼",
        "happiness": "高兴 快乐 开心 高興 快樂 開心",
        "neutral": "中性 中立",
        "sadness": "悲伤 伤心 难过 悲傷 傷心 難過",
        "surprise": "惊讶 惊奇 吃惊 驚訝 驚奇",
    },
}
"""Words of each emotion by language, separated by blanks."""

_OFFERS = {
    normalize("NFC", word): (emotion, language)
    for language, emotions in WORDS.items()
    for emotion, words in emotions.items()
    for word in words.split()
}
OPTION = "--allow-unknown-labels"


def unknown_labels(labels: Iterable[str], allowed: Iterable[str] = ()) -> list[str]:
    """Labels that no label space has, each once; the empty one is none."""
    return sorted(
        {canonical(label) for label in labels} - KNOWN_EMOTIONS - {canonical(label) for label in allowed} - {""}
    )


def check_known(counts: Mapping[str, int], source: str) -> None:
    """Refuse labels that no label space has, and offer what they may mean.

    Args:
        counts: how often each label occurs.
        source: where they stand, for the message.

    Raises:
        UnknownLabel: there are some.
    """
    unknown = unknown_labels(counts)
    if not unknown:
        return
    listed = ", ".join(f"`{label}` ({counts[label]})" for label in unknown)
    raise UnknownLabel(f"{source}: no label space has {listed}\n\nhint: {offers(unknown)}")


def offers(labels: Iterable[str]) -> str:
    """What may be meant by labels that are no known emotions, as options of a command.

    >>> offers(["wut", "hapy", "x1"])
    '--label-map wut=anger (German); --label-map hapy=happiness; --label-map x1=EMOTION, or --allow-unknown-labels'
    """
    parts = []
    for label in labels:
        emotion, language = offer(label)
        parts.append(f"--label-map {label}={emotion or 'EMOTION'}" + f" ({language})" * bool(language))
    return "; ".join(parts) + f", or {OPTION}"


def offer(label: str) -> tuple[str, str]:
    """The emotion that a label may mean and the language in which it does; empty where there is no guess."""
    word = canonical(label)
    if word in _OFFERS:
        return _OFFERS[word]
    close = guess(word, [*KNOWN_EMOTIONS, *ALIASES])
    return (canonical(close.split("`")[1]), "") if close.startswith("did you mean") else ("", "")
