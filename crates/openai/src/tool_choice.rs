use serde::Deserialize;
use serde_json::{Value, json};
use trefoil_contract::ToolChoice;
use utoipa::ToSchema;

use crate::Failure;

/// Whether tools are called.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ToolChoiceBody {
    /// `auto`, `none` or `required`.
    Mode(String),
    /// A function by name.
    Function {
        /// The function.
        function: FunctionName,
    },
    /// A function by name, as `/v1/responses` has it.
    Named(FunctionName),
}

/// The name of a function.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct FunctionName {
    /// The name.
    name: String,
}

impl ToolChoiceBody {
    /// As the contract has it. `tools` are functions in the form of templates.
    pub(crate) fn read(choice: Option<Self>, tools: &[Value]) -> Result<ToolChoice, Failure> {
        let mode = match choice {
            None => return Ok(ToolChoice::Auto),
            Some(ToolChoiceBody::Function { function } | ToolChoiceBody::Named(function)) => {
                let name = function.name;
                if !tools.iter().any(|tool| tool["function"]["name"] == name) {
                    let message = format!("`tool_choice` is `{name}`, which is none of `tools`");
                    return Err(Failure::parameter("tool_choice", message));
                }
                return Ok(ToolChoice::Named(name));
            }
            Some(ToolChoiceBody::Mode(mode)) => mode,
        };
        match mode.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => {
                let message = format!(
                    "`tool_choice` is `{mode}`; expected `auto`, `none`, `required` or a function"
                );
                Err(Failure::parameter("tool_choice", message))
            }
        }
    }

    /// As responses repeat it.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            ToolChoiceBody::Mode(mode) => json!(mode),
            ToolChoiceBody::Function { function } | ToolChoiceBody::Named(function) => {
                json!({ "type": "function", "name": function.name })
            }
        }
    }
}
