use trefoil_contract::{Conversation, Error, Message, MessagePart, ToolCall, ToolResult};
use trefoil_generation::ChatTemplate;

/// Longest list and text of the contract.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// A chat template and a conversation. A template is refused, or ends with a text that the contract
/// can carry or with an error, after a bounded number of steps.
///
/// The input is a byte of flags, what a user says, a zero byte, and the template.
pub fn chat_template(data: &[u8]) {
    let Some((&flags, rest)) = data.split_first() else { return };
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let mut sections = rest.splitn(2, |&byte| byte == 0);
    let mut section = || String::from_utf8_lossy(sections.next().unwrap_or_default()).into_owned();
    let (said, source) = (section(), section());
    let template = match ChatTemplate::new(&source) {
        Ok(template) => template,
        Err(Error::Template(text)) => return assert!(!text.is_empty()),
        Err(error) => panic!("{error:?}"),
    };
    match template.render(&conversation(said, flag), "<s>", "</s>") {
        Ok(text) => assert!(text.len() <= TEXT_BYTES_MAX),
        Err(Error::Template(_)) => {}
        Err(error) => panic!("{error:?}"),
    }
}

fn conversation(said: String, flag: impl Fn(u8) -> bool) -> Conversation {
    let mut messages = Vec::new();
    if flag(0) {
        messages.push(Message::text("system", "Be\n \"brief\"."));
    }
    messages.push(Message::text("user", said.as_str()));
    if flag(1) {
        let parts = vec![MessagePart::Reasoning("Hm.\n".into()), MessagePart::Text(said.clone())];
        messages.push(Message { role: "assistant".into(), parts, variables: None });
    }
    if flag(2) {
        let (id, name) = ("call00001".to_owned(), "weather".to_owned());
        let arguments = r#"{"place": "Zürich", "days": [1, 2.5e-7, null], "more": {}}"#.into();
        let call = MessagePart::ToolCall(ToolCall { id: id.clone(), name, arguments });
        let result = MessagePart::ToolResult(ToolResult { id, texts: vec![said] });
        let message =
            |role: &str, part| Message { role: role.into(), parts: vec![part], variables: None };
        messages.extend([message("assistant", call), message("tool", result)]);
    }
    let tools = r#"[{"type": "function", "function": {"name": "weather", "parameters": {"type":
        "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}}]"#;
    Conversation {
        messages,
        tools: flag(3).then(|| tools.into()),
        variables: flag(4).then(|| r#"{"now": 1738555506, "n": 3, "x": [1, [2]]}"#.into()),
        add_generation_prompt: flag(5),
    }
}
