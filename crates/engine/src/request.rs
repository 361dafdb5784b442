use std::rc::Rc;

use trefoil_contract::{Prompt, ResponseFormat, Result, Setting, ToolChoice, Value};
use trefoil_generation::GenerationOptions;
use trefoil_settings::Scope;

use crate::prompt::PreparedPrompt;
use crate::{Generation, Model, SETTINGS_PREFIX};

/// A request under construction: setters record, [`Request::start`] reports.
pub struct Request {
    model: Rc<Model>,
    prompt: Prompt,
    settings: Vec<Setting>,
    logit_bias: Vec<(u32, f32)>,
    log_probabilities: Option<u32>,
    choices: u32,
    response_format: ResponseFormat,
    tool_choice: ToolChoice,
}

impl Request {
    /// Begins a request.
    pub fn new(model: Rc<Model>, prompt: Prompt) -> Request {
        Request {
            model,
            prompt,
            settings: Vec::new(),
            logit_bias: Vec::new(),
            log_probabilities: None,
            choices: 1,
            response_format: ResponseFormat::Text,
            tool_choice: ToolChoice::Auto,
        }
    }

    /// Any setting of the table; a later value replaces an earlier one, unless the key may
    /// occur several times.
    pub fn set(&mut self, setting: Setting) {
        let is_list = trefoil_settings::key(&setting.key).is_some_and(|key| key.kind.is_list());
        self.settings.retain(|earlier| earlier.key != setting.key || is_list);
        self.settings.push(setting);
    }

    /// Replaces the stop texts.
    pub fn set_stop(&mut self, texts: Vec<String>) {
        self.settings.retain(|setting| setting.key != "stop");
        self.settings.extend(texts.into_iter().map(|text| Setting::new("stop", Value::Text(text))));
    }

    /// Added to the logits of single tokens.
    pub fn set_logit_bias(&mut self, biases: Vec<(u32, f32)>) {
        self.logit_bias = biases;
    }

    /// Reports log probabilities: of the chosen token and so many likeliest.
    pub fn set_log_probabilities(&mut self, top: u32) {
        self.log_probabilities = Some(top);
    }

    /// Number of independent answers.
    pub fn set_choices(&mut self, count: u32) {
        self.choices = count;
    }

    /// Form of the answer.
    pub fn set_response_format(&mut self, format: ResponseFormat) {
        self.response_format = format;
    }

    /// Whether tools are called.
    pub fn set_tool_choice(&mut self, choice: ToolChoice) {
        self.tool_choice = choice;
    }

    /// Checks the request and takes a place for it.
    ///
    /// # Errors
    /// What the setters recorded and the model refuses, an encoder everything;
    /// [`Error::ContextOverflow`];
    /// [`Error::Busy`]; [`Error::Template`].
    pub fn start(self) -> Result<Generation> {
        self.model.check_generates()?;
        let mut settings = self.model.settings.clone();
        settings.apply(&self.settings, Scope::Request, SETTINGS_PREFIX)?;
        let PreparedPrompt { tokens, answer, response_format } = PreparedPrompt::new(
            &self.model,
            self.prompt,
            &settings.request,
            &self.tool_choice,
            self.response_format,
        )?;
        let options = GenerationOptions {
            logit_bias: self.logit_bias,
            choice: 0,
            log_probabilities: self.log_probabilities,
            response_format,
            answer,
        };
        let ids = self.model.generations.borrow_mut().start_choices(
            tokens,
            &settings.request,
            &options,
            self.choices,
        )?;
        Ok(Generation::new(self.model, ids))
    }
}
