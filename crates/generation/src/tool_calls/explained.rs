//! Tools in the prompt of a model whose template knows none.

use minijinja::Value;
use trefoil_contract::{Conversation, Error, Message, MessagePart, Result, ToolCall, ToolResult};

use super::ToolFormat;
use crate::ChatTemplate;

/// The text for the model, with the conversation's tools in the form that `format` needs.
///
/// Most templates write tools, calls and results themselves. For [`ToolFormat::Gemma`] and
/// [`ToolFormat::Generic`] the engine does: tools are explained in the system message, or at the
/// beginning of the first message where the template refuses that; calls are the assistant's text;
/// results are a user's message, since these templates want turns to alternate.
///
/// # Errors
/// See [`ChatTemplate::render`].
pub fn render(
    template: &ChatTemplate,
    conversation: &Conversation,
    format: ToolFormat,
    bos: &str,
    eos: &str,
) -> Result<String> {
    let is_tool =
        |part: &MessagePart| matches!(part, MessagePart::ToolCall(_) | MessagePart::ToolResult(_));
    let mut parts = conversation.messages.iter().flat_map(|message| &message.parts);
    let has_tools = conversation.tools.is_some() || parts.any(is_tool);
    if !format.is_explained() || !has_tools {
        return template.render(conversation, bos, eos);
    }
    // What cannot be read is refused, although no template will see it.
    let tools: Vec<Value> = match &conversation.tools {
        Some(json) => serde_json::from_str(json).map_err(|error| {
            Error::InvalidArgument(format!("`tools`: expected a JSON array: {error}"))
        })?,
        None => Vec::new(),
    };
    let explanation = (!tools.is_empty()).then(|| explanation(&tools, format));
    let explained = |place| {
        let mut messages = as_texts(&conversation.messages, format);
        if let Some(explanation) = &explanation {
            place_explanation(&mut messages, explanation, place);
        }
        let explained = Conversation { messages, tools: None, ..conversation.clone() };
        template.render(&explained, bos, eos)
    };
    match explained(Place::System) {
        Err(Error::Template(text)) if explanation.is_some() => {
            explained(Place::First).map_err(|_| Error::Template(text))
        }
        rendered => rendered,
    }
}

/// Where tools are explained.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    System,
    /// The first message that is not the system's, together with the system's.
    First,
}

fn explanation(tools: &[Value], format: ToolFormat) -> String {
    let mut text = String::from("You can call functions. They are, as JSON:\n<tools>\n");
    for tool in tools {
        text.push_str(&serde_json::to_string(tool).unwrap_or_default());
        text.push('\n');
    }
    text.push_str("</tools>\n");
    text.push_str(match format {
        ToolFormat::Gemma => {
            "To call one, answer with nothing but this, filled in:\n\
             {\"name\": FUNCTION NAME, \"parameters\": {ARGUMENT NAME: VALUE}}"
        }
        _ => {
            "To call one, answer with this, filled in, once for each call:\n\
             <tool_call>\n{\"name\": FUNCTION NAME, \"arguments\": {ARGUMENT NAME: VALUE}}\n\
             </tool_call>"
        }
    });
    text
}

fn place_explanation(messages: &mut Vec<Message>, explanation: &str, place: Place) {
    let is_system = |message: &Message| message.role == "system" || message.role == "developer";
    let mut text = explanation.to_owned();
    match (place, messages.first().is_some_and(is_system)) {
        (Place::System, true) => {
            messages[0].parts.push(MessagePart::Text(format!("\n\n{explanation}")));
        }
        (Place::System, false) => messages.insert(0, Message::text("system", explanation)),
        (Place::First, has_system) => {
            if has_system {
                let texts = messages.remove(0).parts.into_iter().map(|part| match part {
                    MessagePart::Text(text) => text,
                    _ => String::new(),
                });
                text = format!("{}\n\n{text}", texts.collect::<String>());
            }
            match messages.first_mut().filter(|message| message.role == "user") {
                Some(first) => first.parts.insert(0, MessagePart::Text(text + "\n\n")),
                None => messages.insert(0, Message::text("user", text)),
            }
        }
    }
}

/// The messages with calls and results as text.
fn as_texts(messages: &[Message], format: ToolFormat) -> Vec<Message> {
    let mut texts: Vec<Message> = Vec::new();
    // Whether the last message is a user's with results, which the next one joins.
    let mut has_results = false;
    for message in messages {
        let is_result = |part: &MessagePart| matches!(part, MessagePart::ToolResult(_));
        let of_results = message.parts.iter().any(is_result);
        let role = if of_results { "user" } else { message.role.as_str() };
        let mut parts: Vec<MessagePart> = Vec::new();
        for part in &message.parts {
            let text = match part {
                MessagePart::ToolCall(call) => call_text(call, format),
                MessagePart::ToolResult(result) => result_text(result, format),
                other => {
                    parts.push(other.clone());
                    continue;
                }
            };
            let is_text = |part: &MessagePart| matches!(part, MessagePart::Text(_));
            let gap = if parts.iter().any(is_text) { "\n" } else { "" };
            parts.push(MessagePart::Text(format!("{gap}{text}")));
        }
        match texts.last_mut().filter(|_| has_results && role == "user") {
            Some(last) => {
                last.parts.push(MessagePart::Text("\n".into()));
                last.parts.extend(parts);
            }
            None => texts.push(Message {
                role: role.to_owned(),
                parts,
                variables: message.variables.clone(),
            }),
        }
        has_results = role == "user" && (of_results || has_results);
    }
    texts
}

fn call_text(call: &ToolCall, format: ToolFormat) -> String {
    let name = serde_json::Value::from(call.name.as_str());
    let ToolCall { arguments, .. } = call;
    match format {
        ToolFormat::Gemma => format!("{{\"name\": {name}, \"parameters\": {arguments}}}"),
        _ => format!("<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>"),
    }
}

fn result_text(result: &ToolResult, format: ToolFormat) -> String {
    let text = result.texts.concat();
    match format {
        ToolFormat::Gemma => format!("```tool_output\n{text}\n```"),
        _ => format!("<tool_response>\n{text}\n</tool_response>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOLS: &str = r#"[{"type":"function","function":{"name":"now","parameters":{}}}]"#;
    const CHATML: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}";
    /// As Gemma 2: no system, turns alternate.
    const STRICT: &str = "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) \
        %}{{ raise_exception('no ' + m.role) }}{% endif %}<{{ m.role }}>{{ m.content }}</>{% endfor %}";

    fn dialogue(system: bool) -> Conversation {
        let part =
            |role: &str, part| Message { role: role.into(), parts: vec![part], variables: None };
        let call = ToolCall { id: "1".into(), name: "now".into(), arguments: "{}".into() };
        let result = |id: &str, text: &str| {
            MessagePart::ToolResult(ToolResult { id: id.into(), texts: vec![text.into()] })
        };
        let mut messages = vec![
            Message::text("user", "When?"),
            part("assistant", MessagePart::ToolCall(call)),
            part("tool", result("1", "noon")),
            part("tool", result("2", "late")),
            Message::text("user", "Well?"),
        ];
        if system {
            messages.insert(0, Message::text("system", "Be brief."));
        }
        Conversation {
            messages,
            tools: Some(TOOLS.into()),
            variables: None,
            add_generation_prompt: true,
        }
    }

    fn rendered(template: &str, conversation: &Conversation, format: ToolFormat) -> String {
        let template = ChatTemplate::new(template).expect("a template");
        render(&template, conversation, format, "", "").expect("rendered")
    }

    #[test]
    fn tools_calls_and_results_are_texts_for_templates_without_them() {
        let explained =
            explanation(&serde_json::from_str::<Vec<_>>(TOOLS).unwrap(), ToolFormat::Generic);
        let rest = "<assistant><tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call></>\
            <user><tool_response>\nnoon\n</tool_response>\n<tool_response>\nlate\n</tool_response>\n\
            Well?</>";
        let system = rendered(CHATML, &dialogue(true), ToolFormat::Generic);
        assert_eq!(system, format!("<system>Be brief.\n\n{explained}</><user>When?</>{rest}"));
        let none = rendered(CHATML, &dialogue(false), ToolFormat::Generic);
        assert_eq!(none, format!("<system>{explained}</><user>When?</>{rest}"));
        let strict = rendered(STRICT, &dialogue(true), ToolFormat::Generic);
        assert_eq!(strict, format!("<user>Be brief.\n\n{explained}\n\nWhen?</>{rest}"));
    }

    #[test]
    fn gemma_is_asked_for_its_own_form() {
        let text = rendered(STRICT, &dialogue(false), ToolFormat::Gemma);
        assert!(text.contains("{\"name\": FUNCTION NAME, \"parameters\":"), "{text}");
        assert!(text.contains("<assistant>{\"name\": \"now\", \"parameters\": {}}</>"), "{text}");
        assert!(text.contains("<user>```tool_output\nnoon\n```\n"), "{text}");
    }

    #[test]
    fn templates_that_know_tools_get_them_untouched() {
        let template = "{{ tools|length }}{% for m in messages %}{{ m.role }} {% endfor %}";
        let text = rendered(template, &dialogue(false), ToolFormat::Hermes);
        assert_eq!(text, "1user assistant tool tool user ");
    }

    #[test]
    fn what_a_template_refuses_otherwise_is_its_own_error() {
        let template = ChatTemplate::new("{{ raise_exception('never') }}").expect("a template");
        let error = render(&template, &dialogue(true), ToolFormat::Generic, "", "");
        assert_eq!(error, Err(Error::Template("never".into())));
    }
}
