//! The prompt of a request, and what to look for in its answer.

use trefoil_contract::{
    Conversation, Error, Prompt, ResponseFormat, Result, TokenizeOptions, ToolChoice,
};
use trefoil_generation::{AnswerForm, ToolFormat, Tools};
use trefoil_settings::RequestSettings;

use crate::Model;

/// Longest end of a rendered conversation that is looked at for a tag that opens reasoning, in bytes.
const PROMPT_END_BYTES: usize = 64;

/// A prompt as the model gets it.
pub(crate) struct PreparedPrompt {
    pub(crate) tokens: Vec<u32>,
    /// Text alone, but for conversations.
    pub(crate) answer: AnswerForm,
    /// What the request asks for, or a call.
    pub(crate) response_format: ResponseFormat,
}

impl PreparedPrompt {
    /// Makes tokens of a prompt. A call that is required is the whole answer: an object that the
    /// tools' schemas decide, without marks or reasoning, whatever the model's own form is.
    ///
    /// # Errors
    /// What the template, [`Tools::read`] and [`Tools::call_schema`] answer;
    /// [`Error::InvalidArgument`] for a required call beside a response format or without a
    /// conversation.
    pub(crate) fn new(
        model: &Model,
        prompt: Prompt,
        settings: &RequestSettings,
        tool_choice: &ToolChoice,
        response_format: ResponseFormat,
    ) -> Result<Self> {
        let is_required = matches!(tool_choice, ToolChoice::Required | ToolChoice::Named(_));
        if is_required && response_format != ResponseFormat::Text {
            return Err(Error::InvalidArgument(
                "the tool choice requires a call, and the response format another answer; choose \
                 one of them"
                    .into(),
            ));
        }
        let as_text = TokenizeOptions { add_special: true, parse_special: false };
        let tokens = match prompt {
            Prompt::Text(text) => {
                model.check_length(&text)?;
                model.tokenize(&text, as_text)
            }
            Prompt::Tokens(tokens) => tokens,
            Prompt::Chat(conversation) => {
                let prepared = PreparedPrompt::of(model, conversation, settings, tool_choice)?;
                return Ok(match is_required {
                    true => prepared,
                    false => PreparedPrompt { response_format, ..prepared },
                });
            }
        };
        if is_required {
            return Err(Error::InvalidArgument(
                "the tool choice requires a call, but only a conversation has tools".into(),
            ));
        }
        Ok(PreparedPrompt { tokens, answer: AnswerForm::default(), response_format })
    }

    fn of(
        model: &Model,
        mut conversation: Conversation,
        settings: &RequestSettings,
        tool_choice: &ToolChoice,
    ) -> Result<Self> {
        if *tool_choice == ToolChoice::None {
            conversation.tools = None;
        }
        let tools = conversation.tools.as_deref().map(Tools::read).transpose()?;
        let tools = tools.filter(|tools| !tools.is_empty());
        let format = model.tool_format(settings);
        let text = model.render_chat_with(&conversation, format)?;
        let end = match conversation.add_generation_prompt {
            true => text.ceil_char_boundary(text.len().saturating_sub(PROMPT_END_BYTES)),
            // The text ends with what somebody said.
            false => text.len(),
        };
        model.check_length(text.as_bytes())?;
        let tokens = model.tokenize_rendered(text.as_bytes());
        let name = match tool_choice {
            ToolChoice::Auto | ToolChoice::None => {
                let answer = AnswerForm {
                    reasoning: (settings.reasoning == "separate").then(|| text[end..].to_owned()),
                    tool_calls: tools.map(|tools| (format, tools.names().to_vec())),
                };
                let response_format = ResponseFormat::Text;
                return Ok(PreparedPrompt { tokens, answer, response_format });
            }
            ToolChoice::Required => None,
            ToolChoice::Named(name) => Some(name.as_str()),
        };
        let tools = tools.unwrap_or_default();
        let answer = AnswerForm {
            reasoning: None,
            tool_calls: Some((ToolFormat::Generic, tools.names().to_vec())),
        };
        let response_format = ResponseFormat::JsonSchema(tools.call_schema(name)?);
        Ok(PreparedPrompt { tokens, answer, response_format })
    }
}
