use trefoil_contract::{Conversation, Error, Message, MessagePart, ToolCall};
use trefoil_generation::{AnswerForm, AnswerPart, AnswerStream, ChatTemplate, ToolFormat};

const FORMATS: [&str; 6] = ["hermes", "llama3", "mistral", "granite", "gemma", "generic"];

/// What a stream may hold back, in bytes.
const HELD_BYTES_MAX: usize = 17 << 10;

/// An answer in which calls and reasoning are looked for. Nothing of it is lost, how it is cut into
/// pieces changes nothing, little of it is held back, and the arguments of whole calls are JSON.
///
/// The input is a byte that chooses what to look for, a byte for the lengths of pieces, and the
/// answer.
pub fn tool_calls(data: &[u8]) {
    let [choice, cut, answer @ ..] = data else { return };
    let format = ToolFormat::named(FORMATS[usize::from(*choice) % FORMATS.len()]);
    let form = AnswerForm {
        reasoning: (choice & 0x40 == 0)
            .then(|| if choice & 0x80 == 0 { "" } else { "<think>\n" }.to_owned()),
        tool_calls: format.map(|format| (format, vec!["now".into(), "weather".into()])),
    };
    let (parts, has_called) = read(&form, answer, answer.len().max(1));
    let whole: String = parts
        .iter()
        .map(|part| match part {
            AnswerPart::Text(text)
            | AnswerPart::Reasoning(text)
            | AnswerPart::Arguments { text, .. }
            | AnswerPart::Syntax(text) => text.as_str(),
            AnswerPart::Call { .. } => "",
        })
        .collect();
    assert_eq!(whole, String::from_utf8_lossy(answer));
    let pieces = read(&form, answer, 1 + usize::from(*cut));
    assert_eq!(pieces, (parts.clone(), has_called));
    let calls = calls(&parts);
    assert!(!has_called || !calls.is_empty());
    if has_called {
        render(calls);
    }
}

/// Gives whole calls back to a template, which reads their arguments.
fn render(calls: Vec<(String, String)>) {
    let template = ChatTemplate::new("{{ messages[0].tool_calls|length }}").expect("a template");
    let count = calls.len();
    let part = |(name, arguments): (String, String)| {
        assert!(!name.is_empty());
        MessagePart::ToolCall(ToolCall { id: String::new(), name, arguments })
    };
    let parts = calls.into_iter().map(part).collect();
    let conversation = Conversation {
        messages: vec![Message { role: "assistant".into(), parts, variables: None }],
        tools: None,
        variables: None,
        add_generation_prompt: true,
    };
    match template.render(&conversation, "", "") {
        Ok(text) => assert_eq!(text, count.to_string()),
        // JSON sets numbers no bounds.
        Err(Error::InvalidArgument(text)) if text.contains("number out of range") => {}
        Err(error) => panic!("{error}"),
    }
}

/// Reads an answer in pieces of so many bytes; joins neighbours of a kind.
fn read(form: &AnswerForm, answer: &[u8], piece_bytes: usize) -> (Vec<AnswerPart>, bool) {
    let mut stream = AnswerStream::new(form, &[]).expect("no stop text is refused");
    let (mut parts, mut read_bytes) = (Vec::new(), 0);
    for piece in answer.chunks(piece_bytes) {
        stream.push(piece, &mut parts);
        read_bytes += piece.len();
        let given: usize = parts.iter().map(bytes).sum();
        // Damaged bytes come out longer than they are.
        assert!(given + HELD_BYTES_MAX >= read_bytes, "{given} of {read_bytes} bytes");
    }
    stream.finish(&mut parts);
    let mut joined: Vec<AnswerPart> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(AnswerPart::Text(last)), AnswerPart::Text(text))
            | (Some(AnswerPart::Reasoning(last)), AnswerPart::Reasoning(text))
            | (Some(AnswerPart::Syntax(last)), AnswerPart::Syntax(text))
            | (
                Some(AnswerPart::Arguments { text: last, .. }),
                AnswerPart::Arguments { text, .. },
            ) => last.push_str(&text),
            (_, part) => joined.push(part),
        }
    }
    (joined, stream.has_called())
}

fn bytes(part: &AnswerPart) -> usize {
    match part {
        AnswerPart::Text(text)
        | AnswerPart::Reasoning(text)
        | AnswerPart::Arguments { text, .. }
        | AnswerPart::Syntax(text) => text.len(),
        AnswerPart::Call { .. } => 0,
    }
}

fn calls(parts: &[AnswerPart]) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    for part in parts {
        match part {
            AnswerPart::Call { index, name, arguments } => {
                assert_eq!(*index as usize, calls.len());
                calls.push((name.clone(), arguments.clone()));
            }
            AnswerPart::Arguments { index, text } => {
                assert_eq!(*index as usize + 1, calls.len());
                calls.last_mut().expect("a call has begun").1.push_str(text);
            }
            _ => {}
        }
    }
    calls
}
