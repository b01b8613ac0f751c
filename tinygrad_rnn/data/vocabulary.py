"""Text to ids and back: tokens by character or word, and the vocabulary that numbers them."""

from __future__ import annotations

import json
import re
import reprlib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from os import PathLike

import numpy as np

from ..atomic import write
from ..checks import flag, one_of
from ..errors import DataError, ShapeError
from ._checks import integer, integer_array, require_range, text
from ._files import content

_SPECIALS = ("pad", "unk", "sos", "eos")
_JOINERS = "\u200c\u200d"  # zero width, inside words of Persian and the Indic scripts


def tokenize(text: str, level: str = "word", lowercase: bool = False) -> list[str]:
    """Split `text` into characters or words.

    A word is a run of letters, digits and underscores of any script, together with its combining marks and
    with apostrophes inside it; every other visible character is a token of its own. White space separates
    words and is dropped; by character it is kept.

    Parameters
    ----------
    text : str
    level : "char" or "word"
    lowercase : bool
        Lower the case first.

    Returns
    -------
    list of str

    Examples
    --------
    >>> tokenize("Don't panic, Zoë!")
    ["Don't", 'panic', ',', 'Zoë', '!']
    >>> tokenize("Oh no", level="char", lowercase=True)
    ['o', 'h', ' ', 'n', 'o']
    """
    one_of("level", level, ("char", "word"))
    if not isinstance(text, str):
        raise TypeError(f"text: got {type(text).__name__}, wanted str")
    if flag("lowercase", lowercase):
        text = text.lower()
    if level == "char":
        return list(text)
    # \w leaves out combining marks, and would cut the words of many scripts into pieces
    marks = "".join(sorted(c for c in set(text) if unicodedata.category(c).startswith("M"))) + _JOINERS
    letters = rf"\w[\w{marks}]*"
    return re.findall(rf"{letters}(?:['’]{letters})*|[^\w\s][{marks}]*", text)


class Vocabulary:
    """Numbers the tokens of a corpus: special tokens first, then the others from frequent to rare.

    Parameters
    ----------
    sequences : iterable of iterables of str
        Tokens to count: lists of words, or plain strings for a vocabulary of characters. Equally frequent
        tokens are ordered alphabetically, so the ids do not depend on the order of the corpus.
    min_count : int
        Leave out tokens that occur less often.
    max_size : int, optional
        Largest ``len(vocabulary)``, special tokens included.
    pad, unk, sos, eos : str or None
        Special tokens for padding, unknown tokens, start and end of a sequence; None leaves one out. Those
        present get the first ids in this order, so padding is 0.

    Attributes
    ----------
    tokens : tuple of str
        All tokens; the position of a token is its id.
    pad_id, unk_id, sos_id, eos_id : int or None

    Raises
    ------
    DataError
        If no token is left to number.

    Examples
    --------
    >>> vocabulary = Vocabulary([["the", "cat"], ["the", "dog"]], sos=None)
    >>> vocabulary.tokens
    ('<pad>', '<unk>', '<eos>', 'the', 'cat', 'dog')
    >>> ids = vocabulary.encode(["the", "mouse"], add_eos=True)
    >>> ids
    array([3, 1, 2])
    >>> vocabulary.decode(ids)
    ['the', '<unk>', '<eos>']
    """

    def __init__(
        self,
        sequences: Iterable[Iterable[str]],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        pad: str | None = "<pad>",
        unk: str | None = "<unk>",
        sos: str | None = "<sos>",
        eos: str | None = "<eos>",
    ):
        min_count = integer("min_count", min_count, 1)
        given = zip(_SPECIALS, (pad, unk, sos, eos))
        specials = {name: token for name, token in given if token is not None}
        for name, token in specials.items():
            text(name, token)
        counts: Counter[str] = Counter()
        try:
            for sequence in sequences:
                counts.update(list(sequence))
        except TypeError:
            raise TypeError(
                f"sequences: got {reprlib.repr(sequences)}, wanted texts, or lists of tokens that are strings"
            ) from None
        for token in counts:
            if not isinstance(token, str):
                raise TypeError(f"sequences: got the token {token!r}, wanted str")
        for token in specials.values():
            counts.pop(token, None)  # a corpus may already hold "<unk>"
        tokens = sorted((t for t in counts if counts[t] >= min_count), key=lambda t: (-counts[t], t))
        if max_size is not None:
            tokens = tokens[: integer("max_size", max_size, len(specials) + 1) - len(specials)]
        if not tokens:
            raise DataError(
                f"sequences: got {len(counts)} distinct tokens, none of them min_count={min_count} times; "
                "wanted at least one token"
            )
        self._set([*specials.values(), *tokens], specials)

    def _set(self, tokens: list[str], specials: dict[str, str]) -> None:
        self.tokens = tuple(tokens)
        self._ids = {token: i for i, token in enumerate(tokens)}
        if len(self._ids) < len(tokens):
            twice = next(t for t, count in Counter(tokens).items() if count > 1)
            raise DataError(f"tokens: got {twice!r} twice, wanted distinct tokens")
        self._specials = specials
        self.pad_id, self.unk_id, self.sos_id, self.eos_id = (
            self._ids[specials[name]] if name in specials else None for name in _SPECIALS
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.tokens == other.tokens and self._specials == other._specials

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens, specials: {' '.join(self._specials.values()) or 'none'})"

    def token_to_id(self, token: str) -> int:
        """Id of `token`, or that of unk; `DataError` if there is neither."""
        return int(self.encode([token])[0])

    def id_to_token(self, id: int) -> str:
        """Token with number `id`; `DataError` if there is none."""
        return self.decode([id])[0]

    def encode(self, tokens: Iterable[str], *, add_sos: bool = False, add_eos: bool = False) -> np.ndarray:
        """Ids of `tokens`, as an int64 array of shape (length,).

        Parameters
        ----------
        tokens : iterable of str
            A list of words; a string is read as its characters.
        add_sos, add_eos : bool
            Put the id of sos before them, that of eos after them.

        Raises
        ------
        DataError
            At an unknown token, if the vocabulary was built with ``unk=None``.
        ValueError
            If sos or eos is asked for and the vocabulary has none.
        """
        for name, add in (("sos", add_sos), ("eos", add_eos)):
            if flag(f"add_{name}", add) and name not in self._specials:
                raise ValueError(f"add_{name}: got True, but this vocabulary was built with {name}=None")
        get, unk = self._ids.get, self.unk_id
        try:
            tokens = list(tokens)
            ids = [get(token, unk) for token in tokens]
        except TypeError:  # no sequence, or one of sequences
            raise TypeError(f"tokens: got {reprlib.repr(tokens)}, wanted a sequence of strings") from None
        if unk is None and None in ids:
            i = ids.index(None)
            raise DataError(
                f"tokens[{i}]: got the unknown token {tokens[i]!r}, wanted one of the {len(self)} known ones "
                "(this vocabulary was built with unk=None)"
            )
        if add_sos:
            ids.insert(0, self.sos_id)
        if add_eos:
            ids.append(self.eos_id)
        return np.array(ids, dtype=np.int64)

    def decode(self, ids, *, skip_specials: bool = False) -> list[str]:
        """Tokens of `ids`.

        Parameters
        ----------
        ids : array_like of int, shape (length,)
        skip_specials : bool
            Leave out pad, unk, sos and eos.

        Raises
        ------
        DataError
            At an id below 0 or beyond the last token.
        """
        array = integer_array("ids", ids)
        if array.ndim != 1:
            raise ShapeError(f"ids: got shape {array.shape}, wanted (length,)")
        require_range("ids", array, len(self))
        first = len(self._specials) if flag("skip_specials", skip_specials) else 0
        return [self.tokens[i] for i in array.tolist() if i >= first]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the vocabulary to a JSON file; it appears at once or not at all."""
        content = json.dumps({"specials": self._specials, "tokens": self.tokens}, ensure_ascii=False, indent=0)
        # a lone surrogate is a possible token of a character vocabulary
        write(path, content.encode("utf-8", "surrogatepass"))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Vocabulary:
        """Read a vocabulary that :meth:`save` wrote.

        Raises
        ------
        OSError
            If the file is missing, or may not be read.
        DataError
            If the file holds something else.
        """
        vocabulary = cls.__new__(cls)
        with content(path) as raw:
            try:
                state = json.loads(raw.decode("utf-8", "surrogatepass"))
                specials, tokens = state["specials"], state["tokens"]
                first = tokens[: len(specials)]
                if list(specials.values()) != first or list(specials) != [n for n in _SPECIALS if n in specials]:
                    raise DataError(f"specials: got {specials} for the first tokens {first}")
                if not all(isinstance(token, str) for token in tokens):
                    raise DataError("tokens: got a token that is no string")
                if not tokens:
                    raise DataError("tokens: got none")
                vocabulary._set(tokens, specials)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                why = f"no {error}" if isinstance(error, KeyError) else error
                raise DataError(f"{path}: got no vocabulary ({why}), wanted the JSON of save()") from None
        return vocabulary
