"""Parse lists of reading questions as models write them: questions, leaked answers, remarks.

    read_list("Claro:\\n1. ¿Dónde nació Elvira?\\nRespuesta: en Soto.\\n2) ¿Qué pintó?")
    QuestionList((Question("¿Dónde nació Elvira?", False), Question("¿Qué pintó?", False)),
                 num_leaks=1, remarks=())

Any numbering or bullet is recognised, and several questions per line. A true/false question is a
sentence with the words "verdadero o falso" (or V/F; also in Catalan and English), or an item below
a heading with these words. Answers, options and verdicts count as leaks.
"""

import re
from typing import NamedTuple

_TRUE_FALSE = (
    r"(?:verdader[oa]|cierto|vertader|cert|true)\s?(?:o|or|/)\s?fals[oea]?|v\s?[/o]\s?f|t\s?/\s?f"
)
_HEADING = re.compile(rf"\b(?:{_TRUE_FALSE})\b|\ue000", re.IGNORECASE)
# A cue is in brackets or at the start of a sentence: "1. Verdadero o falso: Elvira …"
_CUE = re.compile(
    rf"(?:[¿(\[]|(^|[.:?!)\]*_-]\s?))[ \t]{{0,3}}(?:{_TRUE_FALSE})\b[ \t]?[?)\].]?",
    re.IGNORECASE | re.MULTILINE,
)
CUE = "\ue000"  # replaces the words; a private-use character
ANSWERS = "answers"
# 1. 1) (1) 1.- [1] 1º a. a) iv) - * • > # **1.** "1." Pregunta 1: Q1.
_MARK = re.compile(
    r"""[\s#>*_"'«(\[]{0,8}(?:"""
    r"(?:pregunta|question|q|p)\s?(?:n[º°.]\s?)?(?P<number>[0-9]{1,3})[\s.:)*_-]{1,5}"
    r"|(?P<label>[0-9]{1,3}|[a-z]|[ivx]{2,4})(?:\s?[.)\]:º°]|\s?-\s)[.)\s*_-]{0,5}"
    r"|[-–—*•·▪●○✓→]\s{1,3}|[•·▪●○✓→])",
    re.IGNORECASE,
)
# Where another item starts on the same line.
_NEXT = re.compile(
    r"""(?<=\?)["'»,;\s]{0,5}(?=¿)|(?<=\?)\s{1,3}(?=[A-ZÀ-Ý][^?¿\n]{1,300}\?)"""
    rf"|(?<=[?.)!{CUE}])\s{{1,3}}(?=[(*\[]{{0,3}}[0-9]{{1,2}}[.)])"
)
_ANSWER = re.compile(
    r"[\s*_#(-]{0,6}(?:respuestas?|soluci[oó](?:n|ns|nes)?|answers?|respost(?:a|es)|clave|"
    r"opci(?:ones|ons)|options|r|a|correct[ao]?)(?:\s(?:correct[ao]s?|[0-9]{1,3}))?\s?[:)]",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    r"(?:^|[.?!:(\[–-]\s{0,2})(?:verdader[oa]|fals[oae]?|cierto|vertader|cert|true|v|f)[)\].]{0,2}$",
    re.IGNORECASE,
)
_MARKUP = " \t\r\"'«»“”*_#`,;[]"
_KEYCAP = "\ufe0f\u20e3"  # turns a digit into an emoji


class Question(NamedTuple):
    """`text` has no list number; for a true/false question it is the statement to judge."""

    text: str
    is_true_false: bool


class QuestionList(NamedTuple):
    """The questions of a reply, the number of leaked answers, and other lines after a question."""

    questions: tuple[Question, ...]
    num_leaks: int
    remarks: tuple[str, ...]


def read_list(reply: str) -> QuestionList:
    """Parse any text; linear in its length, never raises."""
    questions: list[Question] = []
    remarks: list[str] = []
    num_leaks, below = 0, ""  # the heading above: none, CUE or ANSWERS
    text_with_cues = _CUE.sub(lambda match: (match[1] or "") + CUE, reply.replace(_KEYCAP, "."))
    for piece in (part for line in text_with_cues.splitlines() for part in _NEXT.split(line)):
        mark = _MARK.match(piece)
        text = piece[mark.end() if mark else 0 :].strip(_MARKUP)
        if not text:
            continue
        if not mark and _is_heading(text):
            below = ANSWERS if _ANSWER.match(text) else CUE if _HEADING.search(text) else ""
        elif "?" in text or CUE in text or (mark and _may_ask(mark, text, below, questions)):
            question, is_answered = _question(text, below)
            questions.append(question)
            num_leaks += is_answered
        elif mark or below == ANSWERS or _ANSWER.match(text) or _VERDICT.match(text):
            num_leaks += 1
        elif questions:
            remarks.append(text)
    return QuestionList(tuple(questions), num_leaks, tuple(remarks))


def _is_heading(text: str) -> bool:
    return "?" not in text and (text.endswith(":") or text == CUE)


def _may_ask(mark: re.Match[str], text: str, below: str, questions: list[Question]) -> bool:
    """Whether a list item without a question mark may still be a question."""
    label = mark["label"] or mark["number"]
    if label is None:  # bullets below a question are its options
        is_option = bool(questions) and questions[-1].text.endswith("?")
    else:
        is_option = label.lower() in "abcdef"
    given = _ANSWER.match(mark.string) or _ANSWER.match(text) or _VERDICT.match(text)
    return not (is_option or given or below == ANSWERS)


def _question(text: str, below: str) -> tuple[Question, bool]:
    """The question, and whether an answer follows on the same line."""
    verdict = _VERDICT.search(text)
    if CUE in text or (below == CUE and "?" not in text):
        statement = text[: verdict.start() + 1] if verdict else text
        return Question(statement.replace(CUE, "").strip(_MARKUP + ":("), True), bool(verdict)
    end = text.rfind("?") + 1 or len(text)
    answered = any(char.isalnum() for char in text[end:]) or bool(verdict and "?" not in text)
    return Question(text[:end], False), answered
