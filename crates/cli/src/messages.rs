//! Conversations in OpenAI's form.

use serde_json::Value;
use trefoil_contract::{
    Conversation, Error, Message, MessagePart, ToolCall, ToolChoice, ToolResult,
};

use crate::fields::{Fields, invalid};

type Result<T, E = Error> = std::result::Result<T, E>;

/// Takes `messages`, `tools` and `variables` from a request. `None` without `messages`.
pub(crate) fn conversation(fields: &mut Fields) -> Result<Option<Conversation>> {
    let Some(messages) = messages(fields)? else { return Ok(None) };
    let (tools, variables) = (tools(fields)?, variables(fields)?);
    Ok(Some(Conversation { messages, tools, variables, add_generation_prompt: true }))
}

/// Takes `messages` from a request.
pub(crate) fn messages(fields: &mut Fields) -> Result<Option<Vec<Message>>> {
    let Some(messages) = fields.take("messages") else { return Ok(None) };
    let Value::Array(messages) = messages else {
        return Err(invalid("`messages` must be a list of objects with `role` and `content`"));
    };
    let messages: Result<_> = messages
        .into_iter()
        .enumerate()
        .map(|(index, value)| {
            message(value).map_err(|error| invalid(format!("message {index}: {error}")))
        })
        .collect();
    messages.map(Some)
}

/// Takes `tools` from a request.
pub(crate) fn tools(fields: &mut Fields) -> Result<Option<String>> {
    match fields.take("tools") {
        None => Ok(None),
        Some(tools @ Value::Array(_)) => Ok(Some(tools.to_string())),
        Some(_) => Err(invalid("`tools` must be a list")),
    }
}

/// Takes `variables` from a request.
pub(crate) fn variables(fields: &mut Fields) -> Result<Option<String>> {
    match fields.take("variables") {
        None => Ok(None),
        Some(variables @ Value::Object(_)) => Ok(Some(variables.to_string())),
        Some(_) => Err(invalid("`variables` must be an object")),
    }
}

/// Takes `tool_choice` from a request.
pub(crate) fn tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>> {
    let Some(choice) = fields.take("tool_choice") else { return Ok(None) };
    let name = choice.get("function").unwrap_or(&choice).get("name");
    match (choice.as_str(), name.and_then(Value::as_str)) {
        (Some("auto"), _) => Ok(Some(ToolChoice::Auto)),
        (Some("none"), _) => Ok(Some(ToolChoice::None)),
        (Some("required"), _) => Ok(Some(ToolChoice::Required)),
        (None, Some(name)) => Ok(Some(ToolChoice::Named(name.to_owned()))),
        _ => Err(invalid(
            "`tool_choice` must be `auto`, `none`, `required` or {\"type\": \"function\", \
             \"function\": {\"name\": NAME}}",
        )),
    }
}

fn message(value: Value) -> Result<Message> {
    let Value::Object(mut map) = value else { return Err(invalid("it must be an object")) };
    let mut take = |key: &str| map.remove(key).filter(|value| !value.is_null());
    let Some(Value::String(role)) = take("role") else {
        return Err(invalid("`role` must be a text"));
    };
    let mut parts = Vec::new();
    if let Some(reasoning) = take("reasoning_content") {
        parts.push(MessagePart::Reasoning(string(reasoning, "reasoning_content")?));
    }
    let content = match take("content") {
        Some(content) => texts(content)?,
        None => Vec::new(),
    };
    if role == "tool" {
        let id = match take("tool_call_id") {
            Some(id) => string(id, "tool_call_id")?,
            None => String::new(),
        };
        parts.push(MessagePart::ToolResult(ToolResult { id, texts: content }));
    } else {
        parts.extend(content.into_iter().map(MessagePart::Text));
    }
    match take("tool_calls") {
        None => {}
        Some(Value::Array(calls)) => {
            for call in calls {
                parts.push(MessagePart::ToolCall(tool_call(call)?));
            }
        }
        Some(_) => return Err(invalid("`tool_calls` must be a list")),
    }
    // Everything else is for the template.
    let variables = (!map.is_empty()).then(|| Value::Object(map).to_string());
    Ok(Message { role, parts, variables })
}

fn texts(content: Value) -> Result<Vec<String>> {
    match content {
        Value::String(text) => Ok(vec![text]),
        Value::Array(parts) => parts.into_iter().map(text_part).collect(),
        _ => Err(invalid("`content` must be a text or a list of parts")),
    }
}

fn text_part(part: Value) -> Result<String> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
    if kind != "text" {
        return Err(Error::unsupported(format!("a part of type `{kind}`; use `text`")));
    }
    match part.get("text") {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(invalid("a part of the content has no `text`")),
    }
}

fn tool_call(call: Value) -> Result<ToolCall> {
    let function = call.get("function").ok_or_else(|| invalid("a tool call has no `function`"))?;
    let name = function.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| invalid("a tool call's `function` has no `name`"))?;
    let arguments = match function.get("arguments") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(json)) => json.clone(),
        Some(object @ Value::Object(_)) => object.to_string(),
        Some(_) => return Err(invalid("a tool call's `arguments` must be an object")),
    };
    let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
    Ok(ToolCall { id: id.into(), name: name.into(), arguments })
}

fn string(value: Value, key: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(invalid(format!("`{key}` must be a text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Option<Conversation>> {
        conversation(&mut Fields::new(value).expect("an object"))
    }

    #[test]
    fn content_may_be_text_or_parts() {
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        let given = json!({"messages": [
            {"role": "user", "content": "x"}, {"role": "user", "content": parts}
        ]});
        let messages = read(given).expect("valid").expect("given").messages;
        assert_eq!(messages[0], Message::text("user", "x"));
        assert_eq!(
            messages[1].parts,
            [MessagePart::Text("a".into()), MessagePart::Text("b".into())]
        );
    }

    #[test]
    fn tool_calls_and_results_are_parts() {
        let call = json!({"id": "1", "function": {"name": "f", "arguments": "{\"a\":1}"}});
        let given = json!({"messages": [
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "2"}
        ], "tools": []});
        let conversation = read(given).expect("valid").expect("given");
        let call = ToolCall { id: "1".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
        let result = ToolResult { id: "1".into(), texts: vec!["2".into()] };
        assert_eq!(conversation.messages[0].parts, [MessagePart::ToolCall(call)]);
        assert_eq!(conversation.messages[1].parts, [MessagePart::ToolResult(result)]);
        assert_eq!(conversation.tools.as_deref(), Some("[]"));
    }

    #[test]
    fn a_choice_of_tools_is_a_word_or_names_one() {
        let read = |choice: Value| {
            let mut fields = Fields::new(json!({ "tool_choice": choice })).expect("an object");
            tool_choice(&mut fields)
        };
        assert_eq!(read(json!("required")), Ok(Some(ToolChoice::Required)));
        assert_eq!(read(json!(null)), Ok(None));
        let named = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(read(named), Ok(Some(ToolChoice::Named("f".into()))));
        for wrong in [json!("any"), json!(1), json!({"function": {}}), json!([])] {
            let error = read(wrong).expect_err("refused").to_string();
            assert!(error.contains("`tool_choice`"), "{error}");
        }
    }

    #[test]
    fn further_fields_reach_the_template() {
        let given = json!({"messages": [{"role": "user", "content": "x", "name": "n"}]});
        let messages = read(given).expect("valid").expect("given").messages;
        assert_eq!(messages[0].variables.as_deref(), Some("{\"name\":\"n\"}"));
    }

    #[test]
    fn a_bad_message_is_named_by_its_place() {
        let given = json!({"messages": [{"role": "user", "content": "x"}, {"content": "x"}]});
        let error = read(given).expect_err("refused").to_string();
        assert!(error.contains("message 1") && error.contains("`role`"), "{error}");
        let image = json!([{"type": "image_url", "image_url": {}}]);
        let error = read(json!({"messages": [{"role": "user", "content": image}]}));
        assert!(error.expect_err("refused").to_string().contains("`image_url`"));
    }
}
