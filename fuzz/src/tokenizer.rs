use trefoil_gguf::Gguf;
use trefoil_tokenizer::{Ids, Model, TokenType, Tokenizer, Vocabulary};

/// One of each kind.
const PRE_TOKENIZERS: &[&str] = &[
    "smollm",
    "default",
    "llama-bpe",
    "dbrx",
    "glm4",
    "qwen2",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "falcon",
    "tekken",
    "gpt-4o",
];

/// A vocabulary and a text. A tokenizer that is built makes tokens of its vocabulary from any
/// text, and where each byte has a token, the text comes back.
///
/// The input is a GGUF file, which is its own text, or: a byte of flags, a byte for BOS, one for
/// EOS (or for the pre-tokenizer), then, separated by zero bytes, tokens (a line each, first the digit of its type), merges
/// (a line each) and the text.
pub fn tokenizer(data: &[u8]) {
    if data.starts_with(b"GGUF") {
        let Ok(gguf) = Gguf::read(&data) else { return };
        match Tokenizer::from_gguf(&gguf.metadata) {
            Ok(tokenizer) => drop(encode(&tokenizer, data)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        return;
    }
    let Some((&[flags, bos, eos], rest)) = data.split_first_chunk() else { return };
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let mut sections = rest.splitn(3, |&byte| byte == 0);
    let mut section = || sections.next().unwrap_or_default();
    let (tokens, merges, text) = (section(), section(), section());

    let complete = flag(0);
    let mut texts = if complete { bytes() } else { Vec::new() };
    let mut token_types = vec![TokenType::Normal; texts.len()];
    for token in tokens.split(|&byte| byte == b'\n') {
        let (&digit, text) = token.split_first().unwrap_or((&b'1', &[]));
        let number = i32::from(digit) - i32::from(b'0');
        token_types.push(if complete { TokenType::Normal } else { TokenType::from_number(number) });
        texts.push(text.to_vec());
    }
    let merges = merges.split(|&byte| byte == b'\n').filter(|merge| !merge.is_empty());
    let pre_tokenizer = match flag(1) {
        true => "gpt-2",
        // Where the byte for EOS is free.
        false if !flag(3) => PRE_TOKENIZERS[usize::from(eos) % PRE_TOKENIZERS.len()],
        false => "smollm",
    };
    let model = if flag(6) { Model::SentencePiece } else { Model::ByteLevel };
    let vocabulary = Vocabulary {
        model,
        scores: (0..texts.len()).map(|token| (token * 37 % 101) as f32).collect(),
        adds_space: flag(7),
        pre_tokenizer,
        tokens: texts.iter().map(Vec::as_slice).collect(),
        token_types,
        merges: merges.collect(),
        ids: Ids {
            bos: flag(2).then_some(bos.into()),
            eos: flag(3).then_some(eos.into()),
            ..Ids::default()
        },
        lowercases: true,
        strips_accents: true,
        adds_bos: flag(4),
        adds_eos: flag(5),
    };
    match Tokenizer::new(&vocabulary) {
        Ok(tokenizer) => {
            let decoded = encode(&tokenizer, text);
            if complete && model == Model::ByteLevel && std::str::from_utf8(text).is_ok() {
                assert!(decoded.iter().all(|decoded| decoded == text), "the text comes back");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Encodes in all modes; what the tokens stand for, without and with special tokens parsed.
fn encode(tokenizer: &Tokenizer, text: &[u8]) -> [Vec<u8>; 2] {
    let ends = tokenizer.end_of_generation();
    assert!(ends.is_sorted() && ends.iter().all(|&end| end < tokenizer.vocabulary_tokens()));
    [false, true].map(|parse_special| {
        let tokens = tokenizer.encode(text, false, parse_special);
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        let eos = tokenizer.eos().filter(|_| tokenizer.adds_eos());
        let separator = tokenizer.separator();
        let with_special: Vec<u32> =
            bos.into_iter().chain(tokens.iter().copied()).chain(eos).chain(separator).collect();
        assert_eq!(tokenizer.encode(text, true, parse_special), with_special);
        let piece = |&token| tokenizer.token_bytes(token).expect("tokens are in the vocabulary");
        tokens.iter().flat_map(piece).copied().collect()
    })
}

/// A token for each byte: printable ones stand for themselves, the others for U+0100 on.
fn bytes() -> Vec<Vec<u8>> {
    let mut next = 0x100;
    let character = |byte| {
        let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable { byte } else { next };
        next += u32::from(!printable);
        char::from_u32(code).unwrap_or_default().to_string().into_bytes()
    };
    (0..=0xFF).map(character).collect()
}
