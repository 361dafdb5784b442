//! Pre-tokenizers: how a text is cut into words, inside which merges happen.
//!
//! llama.cpp describes them as lists of regular expressions (`llama-vocab.cpp`,
//! `llm_tokenizer_bpe`), each cutting the pieces that the one before left. Here they are matched by
//! hand over [`Class`]es and categories: no regex engine travels in the component.

use unicode_general_category::GeneralCategory as Category;

use crate::characters::{Class, category, code, first};

/// A row of the table: values of `tokenizer.ggml.pre` and how they cut.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    /// Values of `tokenizer.ggml.pre`.
    pub(crate) names: &'static [&'static str],
    /// Each cuts the pieces that the one before left.
    steps: &'static [Step],
    /// Whether a word that is a token needs no merges to become it.
    pub(crate) takes_whole_words: bool,
    /// Whether texts begin with BOS unless the file says otherwise.
    pub(crate) adds_bos: bool,
}

/// Looks for a match at the beginning of a text that is not empty.
type Step = fn(&[u8]) -> Found;

/// What a [`Step`] finds; bytes, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Match(usize),
    /// No match begins in so many bytes.
    Nothing(usize),
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
const GPT2: Step = |text| Found::Match(gpt2_word(text));
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*`,
/// then [`space_word`]
const LLAMA3: Step = |text| Found::Match(cl100k_word(text, 3));
/// The same with single digits.
const QWEN2: Step = |text| Found::Match(cl100k_word(text, 1));
/// Like [`LLAMA3`], but words also end where upper case follows lower case, and take contractions
/// in; punctuation takes slashes in.
const GPT4O: Step = |text| Found::Match(o200k_word(text, 3, true));
/// The same with single digits and without contractions.
const TEKKEN: Step = |text| Found::Match(o200k_word(text, 1, false));
/// The last step of DeepSeek V3.
const DEEPSEEK3: Step = |text| match deepseek3_word(text) {
    0 => nothing(text),
    length => Found::Match(length),
};
/// `\p{N}`
const DIGIT: Step = |text| run_of(text, 1, |text| class_is(text, Class::Number));
/// `\p{N}{1,3}`
const DIGITS_3: Step = |text| run_of(text, 3, |text| class_is(text, Class::Number));
/// `\p{N}+`
const DIGITS: Step = |text| run_of(text, usize::MAX, |text| class_is(text, Class::Number));
/// `[0-9][0-9][0-9]`
const THREE_DIGITS: Step = |text| match text {
    [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', ..] => Found::Match(3),
    _ => nothing(text),
};
/// `[\r\n]`
const NEWLINE: Step = |text| run_of(text, 1, is_newline);
/// `[\p{P}\$\+<=>\^~\|]+`
const PUNCTUATION: Step = |text| {
    run_of(text, usize::MAX, |text| {
        is_punctuation(text) || matches!(text[0], b'$' | b'+' | b'<'..=b'>' | b'^' | b'~' | b'|')
    })
};
/// The same with the backtick.
const PUNCTUATION_AND_BACKTICK: Step = |text| {
    run_of(text, usize::MAX, |text| {
        is_punctuation(text)
            || matches!(text[0], b'$' | b'+' | b'<'..=b'>' | b'^' | b'~' | b'|' | b'`')
    })
};
/// `\s?\p{L}+`
const SPACED_LETTERS: Step = |text| spaced(text, |text| class_is(text, Class::Letter));
/// `\s?` and letters that have case, less some of later versions of Unicode.
const SPACED_CASED: Step = |text| {
    spaced(text, |text| {
        use Category::{LowercaseLetter, TitlecaseLetter, UppercaseLetter};
        matches!(category(text), UppercaseLetter | LowercaseLetter | TitlecaseLetter)
            && !matches!(
                code(text),
                0x0560..=0x0588
                    | 0x10C7..=0x10FF
                    | 0x1C80..=0x1C8A
                    | 0x2D00..=0x2D2D
                    | 0xA790..=0xA7FA
                    | 0xAB30..=0xAB68
                    | 0x1_0570..=0x1_05BC
                    | 0x1_0D50..=0x1_0D85
                    | 0x1_6E40..=0x1_6E7F
                    | 0x1_D400..=0x1_DF2A
            )
    })
};
/// `\s?\p{P}+`
const SPACED_PUNCTUATION: Step = |text| spaced(text, is_punctuation);
/// `\s?[!-/:-~！-／：-～‘-‟　-。]+`
const SPACED_SIGNS: Step = |text| {
    spaced(text, |text| {
        !class_is(text, Class::Whitespace)
            && matches!(code(text), 0x21..=0x2F | 0x3A..=0x7E | 0xFF01..=0xFF0F | 0xFF1A..=0xFF5E
            | 0x2018..=0x201F | 0x3000..=0x3002)
    })
};
/// `\s+$`
const TRAILING_SPACE: Step = |text| match whitespace(text).0 {
    0 => nothing(text),
    end if end == text.len() => Found::Match(end),
    end => Found::Nothing(end),
};
/// `[一-龥ࠀ-一가-퟿]+`, less whitespace, which llama.cpp replaces before
const EAST_ASIAN: Step = |text| {
    run_of(text, usize::MAX, |text| {
        !class_is(text, Class::Whitespace)
            && matches!(code(text), 0x0800..=0x9FA5 | 0xAC00..=0xD7FF)
    })
};
/// `[一-龥぀-ゟ゠-ヿ]+`
const CHINESE_AND_JAPANESE: Step =
    |text| run_of(text, usize::MAX, |text| matches!(code(text), 0x4E00..=0x9FA5 | 0x3040..=0x30FF));

/// What most rows have.
const PLAIN: PreTokenizer =
    PreTokenizer { names: &[], steps: &[GPT2], takes_whole_words: false, adds_bos: false };

/// All that are supported, the same as llama.cpp's groups of these names.
pub(crate) const TABLE: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["default"],
        steps: &[PUNCTUATION, GPT2, DIGITS, THREE_DIGITS],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "gpt-2", "mpt", "olmo", "phi-2", "jais", "trillion", "gigachat", "exaone4", "mellum",
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["codeshell", "command-r", "exaone", "minerva-7b", "refact", "smollm", "starcoder"],
        steps: &[DIGIT, GPT2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"],
        steps: &[LLAMA3],
        takes_whole_words: true,
        adds_bos: true,
    },
    PreTokenizer { names: &["dbrx", "smaug-bpe", "chatglm-bpe"], steps: &[LLAMA3], ..PLAIN },
    PreTokenizer { names: &["glm4"], steps: &[LLAMA3], takes_whole_words: true, ..PLAIN },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"],
        steps: &[QWEN2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        steps: &[NEWLINE, SPACED_CASED, SPACED_SIGNS, TRAILING_SPACE, EAST_ASIAN, DIGITS],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        steps: &[NEWLINE, SPACED_LETTERS, SPACED_PUNCTUATION, EAST_ASIAN, DIGIT],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense"],
        steps: &[DIGITS_3, CHINESE_AND_JAPANESE, DEEPSEEK3],
        ..PLAIN
    },
    PreTokenizer {
        names: &["falcon"],
        steps: &[PUNCTUATION_AND_BACKTICK, GPT2, THREE_DIGITS],
        ..PLAIN
    },
    PreTokenizer { names: &["tekken"], steps: &[TEKKEN], takes_whole_words: true, adds_bos: true },
    PreTokenizer { names: &["gpt-4o", "llama4", "kanana2"], steps: &[GPT4O], ..PLAIN },
];

impl PreTokenizer {
    /// The row with that name.
    pub(crate) fn find(name: &str) -> Option<&'static PreTokenizer> {
        TABLE.iter().find(|row| row.names.contains(&name))
    }

    /// Passes the words of a text to `each`, in order; together they are the text.
    pub(crate) fn words<'t>(&self, text: &'t [u8], mut each: impl FnMut(&'t [u8])) {
        cut(text, self.steps, &mut each);
    }
}

/// Cuts a text into the matches of the first step and what is between them, and these by the
/// further steps.
fn cut<'t>(text: &'t [u8], steps: &[Step], each: &mut dyn FnMut(&'t [u8])) {
    let Some((step, further)) = steps.split_first() else {
        each(text);
        return;
    };
    let (mut start, mut at) = (0, 0);
    let mut pass = |start: usize, end: usize| {
        if start < end {
            cut(&text[start..end], further, each);
        }
    };
    while at < text.len() {
        match step(&text[at..]) {
            Found::Match(length) => {
                pass(start, at);
                pass(at, at + length);
                at += length;
                start = at;
            }
            Found::Nothing(length) => at += length,
        }
    }
    pass(start, at);
}

/// No match at the first character.
fn nothing(text: &[u8]) -> Found {
    Found::Nothing(first(text).map_or(1, |(_, length)| length))
}

/// A match of one to `count` characters.
fn run_of(text: &[u8], count: usize, is_part: impl Fn(&[u8]) -> bool) -> Found {
    match prefix(text, count, is_part) {
        0 => nothing(text),
        length => Found::Match(length),
    }
}

/// A match of whitespace, if it is there, and one or more characters.
fn spaced(text: &[u8], is_part: impl Fn(&[u8]) -> bool) -> Found {
    let space = match first(text) {
        Some((Class::Whitespace, length)) => length,
        _ => 0,
    };
    match prefix(&text[space..], usize::MAX, &is_part) {
        // A character may be both.
        0 => run_of(text, usize::MAX, is_part),
        length => Found::Match(space + length),
    }
}

/// Bytes of at most `count` characters at the beginning that are part of something.
fn prefix(text: &[u8], count: usize, is_part: impl Fn(&[u8]) -> bool) -> usize {
    let mut end = 0;
    for _ in 0..count {
        match first(&text[end..]) {
            Some((_, length)) if is_part(&text[end..]) => end += length,
            _ => break,
        }
    }
    end
}

fn class_is(text: &[u8], wanted: Class) -> bool {
    first(text).is_some_and(|(class, _)| class == wanted)
}

fn is_newline(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'\r' | b'\n'))
}

/// `\p{P}`
fn is_punctuation(text: &[u8]) -> bool {
    use Category::{
        ClosePunctuation, ConnectorPunctuation, DashPunctuation, FinalPunctuation,
        InitialPunctuation, OpenPunctuation, OtherPunctuation,
    };
    matches!(
        category(text),
        ConnectorPunctuation
            | DashPunctuation
            | OpenPunctuation
            | ClosePunctuation
            | InitialPunctuation
            | FinalPunctuation
            | OtherPunctuation
    )
}

/// `\p{S}`
fn is_symbol(text: &[u8]) -> bool {
    use Category::{CurrencySymbol, MathSymbol, ModifierSymbol, OtherSymbol};
    matches!(category(text), MathSymbol | CurrencySymbol | ModifierSymbol | OtherSymbol)
}

/// `\p{M}`
fn is_mark(text: &[u8]) -> bool {
    use Category::{EnclosingMark, NonspacingMark, SpacingMark};
    matches!(category(text), NonspacingMark | SpacingMark | EnclosingMark)
}

/// `[^\s\p{L}\p{N}]`
fn is_sign(text: &[u8]) -> bool {
    class_is(text, Class::Other)
}

/// Bytes of a contraction in lower case, `'re`; 0 where there is none.
fn contraction(text: &[u8]) -> usize {
    const CONTRACTIONS: [&[u8]; 7] = [b"'s", b"'t", b"'re", b"'ve", b"'m", b"'ll", b"'d"];
    CONTRACTIONS.iter().find(|each| text.starts_with(each)).map_or(0, |each| each.len())
}

/// The same in any case.
fn contraction_of_any_case(text: &[u8]) -> usize {
    let mut start = [0; 3];
    let length = text.len().min(3);
    start[..length].copy_from_slice(&text[..length]);
    start.make_ascii_lowercase();
    contraction(&start[..length])
}

/// Bytes of the first word of a text that is not empty; at least 1.
fn gpt2_word(text: &[u8]) -> usize {
    match contraction(text) {
        0 => {}
        length => return length,
    }
    let space = usize::from(text.first() == Some(&b' '));
    match first(&text[space..]) {
        None | Some((Class::Whitespace, _)) => whitespace_word(text),
        Some((class, _)) => {
            space + prefix(&text[space..], usize::MAX, |text| class_is(text, class))
        }
    }
}

/// See [`LLAMA3`].
fn cl100k_word(text: &[u8], digits_max: usize) -> usize {
    let length = contraction_of_any_case(text);
    if length > 0 {
        return length;
    }
    let start = before_letters(text);
    let letters = prefix(&text[start..], usize::MAX, |text| class_is(text, Class::Letter));
    if letters > 0 {
        return start + letters;
    }
    match prefix(text, digits_max, |text| class_is(text, Class::Number)) {
        0 => signs_or_space(text, is_newline),
        length => length,
    }
}

/// See [`GPT4O`].
fn o200k_word(text: &[u8], digits_max: usize, takes_contractions: bool) -> usize {
    let start = before_letters(text);
    let letters = cased_letters(&text[start..]);
    if letters > 0 {
        let end = start + letters;
        let contraction =
            if takes_contractions { contraction_of_any_case(&text[end..]) } else { 0 };
        return end + contraction;
    }
    match prefix(text, digits_max, |text| class_is(text, Class::Number)) {
        0 => signs_or_space(text, |text| is_newline(text) || text.first() == Some(&b'/')),
        length => length,
    }
}

/// `U*L+|U+L*`, where `U` is a letter outside `a` to `z` and `L` one outside `A` to `Z`; letters
/// outside ASCII are both.
fn cased_letters(text: &[u8]) -> usize {
    let is_letter = |text: &[u8]| class_is(text, Class::Letter);
    let is_upper = |text: &[u8]| is_letter(text) && !text[0].is_ascii_lowercase();
    let is_lower = |text: &[u8]| is_letter(text) && !text[0].is_ascii_uppercase();
    let uppers = prefix(text, usize::MAX, is_upper);
    let lowers = prefix(&text[uppers..], usize::MAX, is_lower);
    if lowers > 0 {
        return uppers + lowers;
    }
    // The first alternative goes back to the last letter that is both.
    let mut end = 0;
    let mut at = 0;
    while at < uppers {
        let length = first(&text[at..]).map_or(1, |(_, length)| length);
        if is_lower(&text[at..]) {
            end = at + length;
        }
        at += length;
    }
    if end > 0 { end } else { uppers }
}

/// See [`DEEPSEEK3`]:
/// ``[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+``, then
/// `` ?[\p{P}\p{S}]+[\r\n]*``, then [`space_word`]
fn deepseek3_word(text: &[u8]) -> usize {
    if text[0].is_ascii_punctuation() {
        let letters = prefix(&text[1..], usize::MAX, |text| text[0].is_ascii_alphabetic());
        if letters > 0 {
            return 1 + letters;
        }
    }
    let is_part = |text: &[u8]| class_is(text, Class::Letter) || is_mark(text);
    let other = |text: &[u8]| {
        !is_newline(text)
            && !class_is(text, Class::Letter)
            && !is_punctuation(text)
            && !is_symbol(text)
    };
    let start = prefix(text, 1, other);
    for start in [start, 0] {
        let parts = prefix(&text[start..], usize::MAX, is_part);
        if parts > 0 {
            return start + parts;
        }
    }
    let space = usize::from(text[0] == b' ');
    let signs = prefix(&text[space..], usize::MAX, |text| is_punctuation(text) || is_symbol(text));
    if signs > 0 {
        let end = space + signs;
        return end + prefix(&text[end..], usize::MAX, is_newline);
    }
    if class_is(text, Class::Whitespace) { space_word(text) } else { 0 }
}

/// Bytes of what may stand before the letters of a word: `[^\r\n\p{L}\p{N}]?`
fn before_letters(text: &[u8]) -> usize {
    prefix(text, 1, |text| {
        !is_newline(text) && !class_is(text, Class::Letter) && !class_is(text, Class::Number)
    })
}

/// `` ?[^\s\p{L}\p{N}]+`` and what may follow it, or [`space_word`].
fn signs_or_space(text: &[u8], follows: impl Fn(&[u8]) -> bool) -> usize {
    let space = usize::from(text[0] == b' ');
    match prefix(&text[space..], usize::MAX, is_sign) {
        0 => space_word(text),
        signs => {
            let end = space + signs;
            end + prefix(&text[end..], usize::MAX, follows)
        }
    }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`; a character that is nothing of this is a word by itself.
fn space_word(text: &[u8]) -> usize {
    let (end, _) = whitespace(text);
    match text[..end].iter().rposition(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(last) => last + 1,
        None if end > 0 => whitespace_word(text),
        None => first(text).map_or(1, |(_, length)| length),
    }
}

/// Bytes of the whitespace that a text begins with, and of its last character.
fn whitespace(text: &[u8]) -> (usize, usize) {
    let (mut end, mut last) = (0, 0);
    while let Some((Class::Whitespace, length)) = first(&text[end..]) {
        end += length;
        last = length;
    }
    (end, last)
}

/// Bytes of whitespace, less the last one where a word follows it (`\s+(?!\S)`), which may want it.
fn whitespace_word(text: &[u8]) -> usize {
    let (end, last) = whitespace(text);
    if end < text.len() && end > last { end - last } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        let mut words = Vec::new();
        PreTokenizer::find(name)
            .expect("is in the table")
            .words(text.as_bytes(), |word| words.push(std::str::from_utf8(word).expect("whole")));
        assert_eq!(words.concat(), text);
        words
    }

    #[test]
    fn gpt2_keeps_numbers_and_takes_one_space_into_a_word() {
        assert_eq!(
            words("gpt-2", "Hello  world 123 x1!"),
            ["Hello", " ", " world", " 123", " x", "1", "!"]
        );
        assert_eq!(words("gpt-2", "a \n b\t\tc  "), ["a", " \n", " b", "\t", "\t", "c", "  "]);
        assert_eq!(words("gpt-2", ""), [""; 0]);
    }

    #[test]
    fn contractions_are_lower_case_and_behind_no_space() {
        assert_eq!(
            words("gpt-2", "don't I'LL 'tis they've'"),
            ["don", "'t", " I", "'", "LL", " '", "tis", " they", "'ve", "'"]
        );
    }

    #[test]
    fn smollm_cuts_digits_out_first() {
        assert_eq!(words("smollm", "a 12  3½x"), ["a", " ", "1", "2", "  ", "3", "½", "x"]);
        assert_eq!(words("smollm", "٣٤"), ["٣", "٤"]);
    }

    #[test]
    fn newer_words_take_one_sign_in_front_and_newlines_behind_signs() {
        assert_eq!(
            words("llama-bpe", "I'LL (see) 12345 x\t!\n\n  y  \n z"),
            [
                "I", "'LL", " (", "see", ")", " ", "123", "45", " x", "\t", "!\n\n", " ", " y",
                "  \n", " z"
            ]
        );
        assert_eq!(words("qwen2", "a12"), ["a", "1", "2"]);
        assert_eq!(words("gpt-4o", "HelloWorld's ABCé/\n"), ["Hello", "World's", " ABCé", "/\n"]);
        assert_eq!(words("tekken", "XMLHttp2's"), ["XMLHttp", "2", "'s"]);
        assert_eq!(words("deepseek-v3", "(abc) 1234é"), ["(abc", ")", " ", "123", "4", "é"]);
    }

    #[test]
    fn later_steps_cut_what_earlier_ones_left() {
        assert_eq!(
            words("deepseek-llm", "café 中a 12\n  "),
            ["caf", "é", " ", "中", "a", " ", "12", "\n", "  "]
        );
        assert_eq!(words("default", "$12345 a."), ["$", "123", "45", " a", "."]);
    }

    #[test]
    fn spaces_take_time_in_proportion() {
        let text = [vec![b' '; 1 << 20], vec![b'x']].concat();
        for row in TABLE {
            let mut bytes = 0;
            row.words(&text, |word| bytes += word.len());
            assert_eq!(bytes, text.len());
        }
    }

    #[test]
    fn unicode_whitespace_is_whitespace_but_only_the_space_joins_a_word() {
        assert_eq!(
            words("smollm", "\u{a0}nbsp\u{3000}\u{3000}中"),
            ["\u{a0}", "nbsp", "\u{3000}", "\u{3000}", "中"]
        );
        assert_eq!(words("smollm", "न\u{92e}\u{94d}a"), ["न\u{92e}", "\u{94d}", "a"]);
    }

    #[test]
    fn words_cover_any_bytes() {
        let text: Vec<u8> = (0..=u8::MAX).chain([0xe4, 0xbd, b' ', 0xed, 0xa0, 0x80]).collect();
        for row in TABLE {
            let mut all = Vec::new();
            row.words(&text, |word| {
                assert!(!word.is_empty());
                all.extend_from_slice(word);
            });
            assert_eq!(all, text);
        }
    }
}
