//! Text from the bytes of tokens.

use trefoil_contract::{Error, Result};

/// Most stop texts of one request.
const STOP_TEXTS_MAX: usize = 64;
/// Longest stop text, in bytes; as the setting `stop`.
const STOP_BYTES_MAX: usize = 1024;

/// Turns the bytes of tokens into whole characters and ends before a stop text.
///
/// What comes out, put together, is the text of all bytes (sequences that are not UTF-8 appear as
/// U+FFFD, as `String::from_utf8_lossy` has it) up to the stop text that is complete first; of
/// several that are complete at the same character, the longest. How the bytes are cut into tokens
/// changes nothing. Only what may still become a character or a stop text is held back.
#[derive(Debug, Clone)]
pub struct TextStream {
    stops: Vec<StopText>,
    /// The beginning of a character: at most 3 bytes.
    incomplete: Vec<u8>,
    /// Characters that may become a stop text.
    held: String,
    stopped: bool,
}

impl TextStream {
    /// A stream that ends before any of `stop`.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for more than 64 stop texts, an empty one, or one above 1024 bytes.
    pub fn new(stop: &[String]) -> Result<Self> {
        let refuse = |value: String, expected: &str| Error::InvalidSetting {
            key: "stop".into(),
            value,
            expected: expected.into(),
        };
        if stop.len() > STOP_TEXTS_MAX {
            return Err(refuse(format!("{} texts", stop.len()), "at most 64 texts"));
        }
        let unusable = |text: &&String| text.is_empty() || text.len() > STOP_BYTES_MAX;
        if let Some(text) = stop.iter().find(unusable) {
            return Err(refuse(text.clone(), "texts of 1 to 1024 bytes"));
        }
        Ok(TextStream {
            stops: stop.iter().map(|text| StopText::new(text)).collect(),
            incomplete: Vec::new(),
            held: String::new(),
            stopped: false,
        })
    }

    /// Takes the bytes of the next token and appends to `text` what has become certain. Answers
    /// whether a stop text has occurred; after that nothing comes any more.
    pub fn push(&mut self, bytes: &[u8], text: &mut String) -> bool {
        if self.stopped {
            return true;
        }
        let joined;
        let mut rest = bytes;
        if !self.incomplete.is_empty() {
            self.incomplete.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.incomplete);
            rest = &joined;
        }
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    self.characters(valid, text);
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.characters(std::str::from_utf8(valid).unwrap_or_default(), text);
                    let Some(length) = error.error_len() else {
                        self.incomplete = after.to_vec();
                        break;
                    };
                    self.characters("\u{FFFD}", text);
                    rest = &after[length..];
                }
            }
            if self.stopped {
                break;
            }
        }
        self.release(text);
        self.stopped
    }

    /// Appends what was held back: nothing follows. Answers whether a stop text has occurred.
    pub fn finish(&mut self, text: &mut String) -> bool {
        if !self.stopped && !std::mem::take(&mut self.incomplete).is_empty() {
            self.characters("\u{FFFD}", text);
        }
        text.push_str(&self.held);
        self.held.clear();
        self.stopped
    }

    /// Appends what was held back for a stop text: what follows makes none together with it.
    pub fn release_all(&mut self, text: &mut String) {
        text.push_str(&self.held);
        self.held.clear();
        self.stops.iter_mut().for_each(|stop| stop.matched = 0);
    }

    /// Adds characters to `held` up to a stop text. Long texts are released on the way, so that
    /// `held` stays small.
    fn characters(&mut self, characters: &str, text: &mut String) {
        if self.stopped {
            return;
        }
        if self.stops.is_empty() {
            text.push_str(characters);
            return;
        }
        for (index, byte) in characters.bytes().enumerate() {
            let found = self.stops.iter_mut().filter_map(|stop| stop.push(byte)).max();
            if let Some(length) = found {
                self.held.push_str(characters.get(..=index).unwrap_or(characters));
                self.held.truncate(self.held.len() - length);
                text.push_str(&self.held);
                self.held.clear();
                self.stopped = true;
                return;
            }
        }
        self.held.push_str(characters);
    }

    /// Appends to `text` what cannot become a stop text any more.
    fn release(&mut self, text: &mut String) {
        let matched = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let certain = self.held.len() - matched.min(self.held.len());
        text.push_str(&self.held[..certain]);
        self.held.drain(..certain);
    }
}

/// Finds one text in a stream of bytes (Knuth, Morris and Pratt, 1977).
#[derive(Debug, Clone)]
struct StopText {
    bytes: Vec<u8>,
    /// For each length of a prefix, the longest shorter prefix that the prefix ends with.
    shorter: Vec<usize>,
    /// Length of the longest prefix that the stream ends with.
    matched: usize,
}

impl StopText {
    fn new(text: &str) -> Self {
        let mut stop = StopText { bytes: text.into(), shorter: vec![0, 0], matched: 0 };
        for index in 1..stop.bytes.len() {
            let length = stop.after(stop.shorter[index], stop.bytes[index]);
            stop.shorter.push(length);
        }
        stop
    }

    /// The longest prefix that ends a stream with the prefix of `length` and then `byte`.
    fn after(&self, mut length: usize, byte: u8) -> usize {
        loop {
            if self.bytes.get(length) == Some(&byte) {
                return length + 1;
            }
            if length == 0 {
                return 0;
            }
            length = self.shorter[length];
        }
    }

    /// Takes a byte; answers the text's length where it is complete.
    fn push(&mut self, byte: u8) -> Option<usize> {
        self.matched = self.after(self.matched, byte);
        (self.matched == self.bytes.len()).then_some(self.matched)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::TextStream;

    /// The definition: decode everything, then look for the first complete stop text.
    fn naive(bytes: &[u8], stops: &[String]) -> (String, bool) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        for end in 0..=text.len() {
            let Some(head) = text.get(..end) else { continue };
            let found = stops.iter().filter(|stop| head.ends_with(stop.as_str()));
            if let Some(length) = found.map(String::len).max() {
                return (head[..end - length].to_owned(), true);
            }
        }
        (text, false)
    }

    fn run(chunks: &[Vec<u8>], stops: &[String]) -> (String, bool) {
        let mut stream = TextStream::new(stops).expect("stop texts");
        let mut text = String::new();
        for chunk in chunks {
            stream.push(chunk, &mut text);
        }
        let stopped = stream.finish(&mut text);
        (text, stopped)
    }

    fn stops(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// Bytes that meet in characters and stop texts often, whole, cut or damaged.
    fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = prop::sample::select(vec![b'a', b'b', 0xC3, 0xA4, 0xF0, 0x9F, 0x98, 0x80, 0xFF]);
        prop::collection::vec(prop::collection::vec(byte, 0..5), 0..12)
    }

    fn stop_texts() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[abä😀\u{FFFD}]{1,4}", 0..4)
    }

    proptest! {
        #[test]
        fn chunks_change_nothing(chunks in chunks(), stops in stop_texts()) {
            prop_assert_eq!(run(&chunks, &stops), naive(&chunks.concat(), &stops));
        }

        #[test]
        fn only_what_may_become_something_else_is_held(chunks in chunks(), stops in stop_texts()) {
            let mut stream = TextStream::new(&stops).expect("stop texts");
            let mut text = String::new();
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend_from_slice(chunk);
                if stream.push(chunk, &mut text) {
                    break;
                }
                // What is decided: the text of all complete sequences ...
                let incomplete = match bytes.utf8_chunks().last() {
                    Some(last) if std::str::from_utf8(last.invalid())
                        .is_err_and(|error| error.error_len().is_none()) => last.invalid().len(),
                    _ => 0,
                };
                let decided = String::from_utf8_lossy(&bytes[..bytes.len() - incomplete]);
                // ... less its longest end that begins a stop text.
                let is_start = |tail: &str| stops.iter().any(|stop| stop.starts_with(tail));
                let cut = (0..=decided.len())
                    .find(|&at| decided.get(at..).is_some_and(is_start))
                    .unwrap_or(decided.len());
                prop_assert_eq!(&text, &decided[..cut]);
            }
        }
    }

    #[test]
    fn stop_texts_cross_tokens() {
        let chunks: Vec<_> = ["Hel", "lo<", "|e", "nd|> more"].map(Vec::from).into();
        assert_eq!(run(&chunks, &stops(&["<|end|>"])), ("Hello".into(), true));
    }

    #[test]
    fn the_first_complete_stop_text_counts() {
        assert_eq!(run(&[b"abcd".into()], &stops(&["abcd", "bc"])), ("a".into(), true));
        assert_eq!(run(&[b"xaab".into()], &stops(&["b", "ab"])), ("xa".into(), true));
    }

    #[test]
    fn unfinished_beginnings_come_out_at_the_end() {
        assert_eq!(run(&[b"a<|e".into()], &stops(&["<|end|>"])), ("a<|e".into(), false));
        assert_eq!(run(&[b"a\xF0\x9F".into()], &[]), ("a\u{FFFD}".into(), false));
        assert_eq!(run(&[b"a\xF0".into()], &stops(&["\u{FFFD}"])), ("a".into(), true));
    }

    #[test]
    fn unusable_stop_texts_are_refused() {
        assert!(TextStream::new(&stops(&[""])).is_err());
        assert!(TextStream::new(&["x".repeat(1025)]).is_err());
        assert!(TextStream::new(&vec!["x".to_owned(); 65]).is_err());
    }
}
