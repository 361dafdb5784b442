use super::{AnswerForm, AnswerPart, AnswerStream};
use crate::ToolFormat;

/// Reasoning and text of an answer, and whether a stop text ended it.
fn read(prompt: &str, pieces: &[&str], stop: &[&str]) -> (String, String, bool) {
    let form = AnswerForm { reasoning: Some(prompt.to_owned()), tool_calls: None };
    let stop: Vec<String> = stop.iter().map(|text| (*text).to_owned()).collect();
    let mut stream = AnswerStream::new(&form, &stop).expect("a stream");
    let mut parts = Vec::new();
    for piece in pieces {
        stream.push(piece.as_bytes(), &mut parts);
    }
    let stopped = stream.finish(&mut parts);
    let (mut reasoning, mut text) = (String::new(), String::new());
    for part in parts {
        match part {
            AnswerPart::Text(part) => text += &part,
            AnswerPart::Reasoning(part) => reasoning += &part,
            AnswerPart::Syntax(_) => {}
            other => panic!("{other:?}"),
        }
    }
    (reasoning, text, stopped)
}

/// The same, whole and character by character.
#[track_caller]
fn check(prompt: &str, text: &str, reasoning: &str, rest: &str) {
    let characters: Vec<String> = text.chars().map(String::from).collect();
    let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
    for pieces in [&[text][..], &characters] {
        let expected = (reasoning.to_owned(), rest.to_owned(), false);
        assert_eq!(read(prompt, pieces, &[]), expected, "{text}");
    }
}

#[test]
fn reasoning_stands_in_tags_at_the_beginning() {
    // Qwen 3's form, and Magistral's.
    check("", "<think>\nHm, so\n\n 2.\n</think>\n\nIt is 2.\n", "Hm, so\n\n 2.", "It is 2.\n");
    check("", "[THINK]Hm.[/THINK]2", "Hm.", "2");
    check("", " \n<think></think>2", "", "2");
    // Cut off while thinking; a tag that closes another.
    check("", "<think>Hm </thin", "Hm </thin", "");
    check("", "<think>a</think>b</think>c", "a", "b</think>c");
    // Later tags are text, and so is what only begins like one.
    for text in ["So <think>no</think>", "<thin", "<b>", "", "  ", "</think>"] {
        check("", text, "", text);
    }
}

#[test]
fn a_prompt_may_open_the_reasoning() {
    // As DeepSeek R1's template does.
    check("<|Assistant|><think>\n", "Hm.\n</think>\n\n2", "Hm.", "2");
    check("<|Assistant|><think>\n", "Hm.", "Hm.", "");
    // As Qwen 3's where thinking is switched off.
    check("assistant\n<think>\n\n</think>\n\n", "2", "", "2");
}

#[test]
fn stop_texts_end_the_text_alone() {
    let read = |text: &str| read("", &[text], &["END", "2.E"]);
    assert_eq!(read("<think>END</think>1 END 2"), ("END".into(), "1 ".into(), true));
    assert_eq!(read("<think>2.</think>END"), ("2.".into(), String::new(), true));
    assert_eq!(read("<think>1</think>2. EN"), ("1".into(), "2. EN".into(), false));
}

#[test]
fn a_call_between_texts_keeps_them_apart_and_in_order() {
    let form = AnswerForm { reasoning: None, tool_calls: Some((ToolFormat::Mistral, vec![])) };
    let mut stream = AnswerStream::new(&form, &["STOP".into()]).expect("a stream");
    let mut parts = Vec::new();
    for piece in ["aST", "[TOOL_CALLS]f[ARGS]{\"a\": \"STOP\"}", "OPb", "STOP", "c"] {
        stream.push(piece.as_bytes(), &mut parts);
    }
    assert!(stream.finish(&mut parts));
    parts.retain(|part| !matches!(part, AnswerPart::Syntax(_)));
    let text = |text: &str| AnswerPart::Text(text.into());
    assert_eq!(
        parts,
        [
            text("a"),
            text("ST"),
            AnswerPart::Call { index: 0, name: "f".into(), arguments: String::new() },
            AnswerPart::Arguments { index: 0, text: "{\"a\": \"STOP\"}".into() },
            text("OPb"),
        ]
    );
}

#[test]
fn special_tokens_are_read_where_they_are_tags_of_the_form() {
    let reads = |form: &AnswerForm, text: &str| {
        AnswerStream::new(form, &[]).expect("a stream").reads_special(text.as_bytes())
    };
    let calls = AnswerForm { reasoning: None, tool_calls: Some((ToolFormat::Mistral, vec![])) };
    let thinks = AnswerForm { reasoning: Some(String::new()), tool_calls: None };
    assert!(reads(&calls, "[TOOL_CALLS]") && reads(&calls, "[ARGS]"));
    assert!(!reads(&calls, "<think>") && !reads(&calls, "<tool_call>") && !reads(&calls, "</s>"));
    assert!(reads(&thinks, "<think>") && reads(&thinks, "[/THINK]"));
    assert!(!reads(&thinks, "[TOOL_CALLS]"));
    assert!(!reads(&AnswerForm::default(), "<think>"));
}
