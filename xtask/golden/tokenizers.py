"""Makes a vocabulary whose merges show where texts are cut, and llama.cpp's tokens of many texts.

tokenizers.py DIRECTORY writes bpe.gguf, sentence-piece.gguf, word-piece.gguf, texts.json, and files
of tokens: one for each pre-tokenizer, SentencePiece, and each way in which WordPiece normalises;
and characters.gguf and files of what WordPiece does with every character.
`cargo xtask golden` runs it with the versions of `gguf` and `llama-cpp-python` that it needs.
"""

import ctypes
import json
import random
import sys
import unicodedata
from pathlib import Path

import gguf
import llama_cpp as ll

PRE_TOKENIZERS = [
    "default",
    "gpt-2",
    "smollm",
    "llama-bpe",
    "dbrx",
    "qwen2",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "falcon",
    "tekken",
    "gpt-4o",
]

# WordPiece: whether it lower-cases and strips accents; nothing is what a file without keys does.
NORMALISERS = {
    "word-piece": {},
    "word-piece-cased": {"lowercase": False},
    "word-piece-accents": {"lowercase": True, "strip_accents": False},
    "word-piece-stripped": {"lowercase": False, "strip_accents": True},
}

# Kept here: llama.cpp goes on calling it.
SILENCE = ll.llama_log_callback(lambda *_: None)
ll.llama_log_set(SILENCE, ctypes.c_void_p(0))

PROSE = [
    "I'm sure they'll say we've done it, didn't we? HE'S HERE, I'LL GO, THEY'VE LEFT, 'tis.",
    "It costs $1,234.56 (about 12345678 yen) or 3.14159e-10; call +49 30 901820, or 0x7fff.",
    "HelloWorld XMLHttpRequest iPhone15Pro snake_case_name kebab-case SCREAMING_SNAKE x2y3z",
    "École ÉCOLE naïve Straße ΑΒΓδε ДомИк ЁЖИК ŽLUŤOUČKÝ kůň ǅungla ﬁne ªº ƻ ǀǁ ʔa ⅣⅫ",
    "https://example.org/a/b?c=d&e=%20#f mail@example.org C:\\\\Windows\\\\x.txt ~/.cache/",
    "中文字符和English混排，第12章。日本語のテキストはカタカナとひらがな、漢字。한국어 텍스트 12개",
    "مرحبا بالعالم ١٢٣٤ שלום עולם हिन्दी में पाठ १२३ ภาษาไทย ไม่มีช่องว่าง ខ្មែរ მხედრული հայերեն",
    "👩‍👩‍👧‍👦 🇩🇪🏳️‍🌈 e\u0301 n\u0303 a\u0308o\u0308 ½ ② ³ ٪ ‰ № ™ © “quoted” ‘single’ «guillemets» … — –",
    "\tif (x <= 10 && y[i] != *p->q) {\n\t\treturn f(a, b)->c++;  // 100%\n\t}\n\n\n",
    "def f(x: int = 3) -> str:\n    '''Doc.'''\n    return f\"{x:>10}\" + 'it''s'  \n\n",
    "a  b   c    d\t\te \t f\n\n g\r\nh\r\n\r\n  i \n \n  j\u00a0k\u00a0\u00a0l\u2003\u3000m \u2028n   ",
    "!!! ??? ... --- === *** ### @@@ $$$ ^^^ ~~~ ||| ``` <<< >>> +++ /// \\\\\\ ;;; ::: ,,, \"\"\" '''",
    "(a)[b]{c}<d>'e'\"f\"/g/ -h +i =j @k #l $m %n ^o &p *q ~r `s |t _u :v ;w ,x .y !z ?0 \\1",
    "１２３ ａｂｃ ＡＢＣ ！？ 〜 ・ ー ｶﾅ 　全角 １a",
    "  leading and trailing   ",
    "\n\n\n",
    " ",
    "'",
    "x",
]


def unicode_texts():
    """A character of every third of a block, between letters, digits, signs and spaces."""
    chosen = []
    for start in range(0x80, 0x20000, 48):
        assigned = [
            chr(code)
            for code in range(start, start + 48)
            if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")
        ]
        if assigned:
            chosen.append(assigned[len(assigned) // 2])
    texts = []
    for first in range(0, len(chosen), 24):
        each = chosen[first : first + 24]
        texts.append("".join(f"x{c}1{c} {c}!{c}{c}B\n" for c in each))
    return texts


def random_texts():
    """Characters of all kinds in random order."""
    pick = random.Random(20261126)
    kinds = list("abXY'' \t\n\r019.,/-_$+<é中") + ["'s", "'LL", "  ", "\u00a0", "ß", "Ж", "\u0301", "ね", "½"]
    return ["".join(pick.choice(kinds) for _ in range(200)) for _ in range(40)]


def broken_texts():
    return [b"a\xffb", b"\xc3", b"\xe4\xbd x \x80\x80", b"\xf0\x9f\x98", b"ok \xc0\x80 \xed\xa0\x80 ok"]


def letters_of_bytes():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def vocabulary(texts):
    """Tokens for all bytes, characters, and pairs of neighbours in the texts."""
    letters = letters_of_bytes()
    spell = lambda text: "".join(letters[byte] for byte in text.encode())
    tokens, merges = list(letters), []
    known = set(tokens)

    def merge(left, right):
        if left in known and right in known and left + right not in known:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")

    for text in texts:
        for character in text:
            spelled = spell(character)
            for end in range(1, len(spelled)):
                merge(spelled[:end], spelled[end])
    for text in texts:
        for first, second in zip(text, text[1:]):
            merge(spell(first), spell(second))
    return tokens, merges


def write(path, pre, tokens, merges):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_sentence_piece(path, texts):
    """Characters, and pairs and triples of neighbours with a score of their own."""
    writer = gguf.GGUFWriter(path, "llama")
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [2, 3, 3] + [6] * 256
    pieces = {}
    for text in texts:
        text = "\u2581" + text.replace(" ", "\u2581")
        for length in (1, 2, 3):
            for first in range(len(text) - length + 1):
                pieces.setdefault(text[first : first + length], len(pieces))
    pick = random.Random(7)
    # Some characters have no token, and some scores are equal.
    kept = [piece for piece in pieces if len(piece) > 1 or ord(piece) < 0x3000]
    tokens += kept
    types += [1] * len(kept)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(pick.randrange(4000)) for _ in kept])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_word_piece(path, kept, normaliser):
    writer = gguf.GGUFWriter(path, "bert")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *kept]
    types = [3, 2, 3, 3, 3] + [1] * len(kept)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_type_count(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    for name, value in normaliser.items():
        writer.add_bool(f"tokenizer.ggml.normalizer.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def word_pieces(texts):
    """Characters and pairs of neighbours, at the beginning of words and inside, of which some are
    left out: what stays says how words were cut and normalised."""
    pieces = {}
    for text in texts:
        for form in (text, text.lower(), unicodedata.normalize("NFD", text).lower()):
            for length in (1, 2):
                for first in range(len(form) - length + 1):
                    piece = form[first : first + length]
                    if not any(character.isspace() for character in piece):
                        pieces["\u2581" + piece] = pieces[piece] = True
    # The first characters of decompositions, of which a syllable's is not in any text above.
    for text in texts:
        for character in text:
            first = unicodedata.normalize("NFD", character)[0].lower()
            if not first.isspace():
                pieces["\u2581" + first] = pieces[first] = True
    pick = random.Random(8)
    return [piece for piece in pieces if pick.random() < 0.9]


def assigned():
    """The characters of this Python's Unicode, which is older than all others here."""
    return [
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) not in ("Cn", "Cs")
    ]


def character_pieces(characters):
    """The letters x and y, and what characters are normalised to where that is another one."""
    pieces = {"\u2581x": True, "\u2581y": True, "y": True}
    for character in characters:
        first = unicodedata.normalize("NFD", character)[0]
        for form in (first, first.lower()[0], character.lower()[0]):
            if form != character:
                pieces["\u2581" + form] = True
    return list(pieces)


def runs(path, characters):
    """What becomes of each character alone and between x and y, as runs of characters of which the
    same becomes: [first code, tokens], `null` for those that are not in Unicode."""
    rows = tokenize(path, [text.encode() for c in characters for text in (c, f"x{c}y")])
    runs, next_code = [], 0
    for index, character in enumerate(characters):
        code, outcome = ord(character), rows[2 * index : 2 * index + 2]
        if code > next_code and (not runs or runs[-1][1] is not None):
            runs.append([next_code, None])
        if not runs or runs[-1][1] != outcome:
            runs.append([code, outcome])
        next_code = code + 1
    return [*runs, [next_code, None]]


def tokenize(path, texts):
    params = ll.llama_model_default_params()
    params.vocab_only = True
    model = ll.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise SystemExit(f"llama.cpp cannot load {path}")
    vocabulary = ll.llama_model_get_vocab(model)
    rows = []
    for text in texts:
        buffer = (ll.llama_token * (len(text) + 8))()
        count = ll.llama_tokenize(vocabulary, text, len(text), buffer, len(buffer), False, False)
        rows.append(list(buffer[:count]))
    ll.llama_model_free(model)
    return rows


def main():
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    valid = PROSE + unicode_texts() + random_texts()
    tokens, merges = vocabulary(valid)
    texts = [text.encode() for text in valid] + broken_texts()
    entries = [*valid, *({"hex": text.hex()} for text in broken_texts())]
    (directory / "texts.json").write_text(json.dumps(entries) + "\n")
    path = directory / "sentence-piece.gguf"
    write_sentence_piece(path, PROSE + random_texts())
    rows = tokenize(path, texts)
    print(f"SentencePiece: {sum(map(len, rows))} of {len(texts)} texts")
    (directory / "sentence-piece.json").write_text(json.dumps(rows, separators=(",", ":")) + "\n")
    characters = assigned()
    for name, normaliser in list(NORMALISERS.items())[:2]:
        path = directory / "characters.gguf"
        write_word_piece(path, character_pieces(characters), normaliser)
        rows = runs(path, characters)
        print(f"{name}: {len(characters)} characters, {len(rows)} runs")
        text = json.dumps(rows, separators=(",", ":"))
        (directory / f"{name}-characters.json").write_text(text + "\n")
    pieces = word_pieces(valid)
    for name, normaliser in NORMALISERS.items():
        path = directory / "word-piece.gguf"
        write_word_piece(path, pieces, normaliser)
        rows = tokenize(path, texts)
        unknown = sum(row.count(1) for row in rows)
        print(f"{name}: {sum(map(len, rows))}, {unknown} unknown, of {len(texts)} texts")
        (directory / f"{name}.json").write_text(json.dumps(rows, separators=(",", ":")) + "\n")
    for pre in PRE_TOKENIZERS:
        path = directory / "bpe.gguf"
        write(path, pre, tokens, merges)
        rows = tokenize(path, texts)
        print(f"{pre}: {len(tokens)} tokens, {sum(map(len, rows))} of {len(texts)} texts")
        (directory / f"{pre}.json").write_text(json.dumps(rows, separators=(",", ":")) + "\n")


main()
