//! The commands, one file each.

mod bench;
mod cache;
mod chat;
mod completions;
mod compose;
mod detokenize;
mod embed;
mod generate;
mod inspect;
mod logits;
mod models;
mod pack;
mod perplexity;
mod pull;
mod render_chat;
mod rerank;
mod run;
mod serve;
mod tokenize;
mod web;

use anyhow::Result;

use crate::session::Session;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    Chat(chat::Arguments),
    Run(run::Arguments),
    Serve(serve::Arguments),
    Web(web::Arguments),
    Pull(pull::Arguments),
    Models(models::Arguments),
    Pack(pack::Arguments),
    Compose(compose::Arguments),
    Inspect(inspect::Arguments),
    Generate(generate::Arguments),
    Tokenize(tokenize::Arguments),
    Detokenize(detokenize::Arguments),
    RenderChat(render_chat::Arguments),
    Logits(logits::Arguments),
    Embed(embed::Arguments),
    Rerank(rerank::Arguments),
    Perplexity(perplexity::Arguments),
    Bench(bench::Arguments),
    Cache(cache::Arguments),
    Completions(completions::Arguments),
}

impl Command {
    /// Executes the command and returns the exit code.
    pub(crate) fn run(&self, session: &Session) -> Result<i32> {
        match self {
            Command::Chat(arguments) => chat::run(arguments, session),
            Command::Run(arguments) => run::run(arguments, session),
            Command::Serve(arguments) => serve::run(arguments, session),
            Command::Web(arguments) => web::run(arguments, session),
            Command::Pull(arguments) => pull::run(arguments, session),
            Command::Models(arguments) => models::run(arguments, session),
            Command::Pack(arguments) => pack::run(arguments, session),
            Command::Compose(arguments) => compose::run(arguments, session),
            Command::Inspect(arguments) => inspect::run(arguments, session),
            Command::Generate(arguments) => arguments.window.run(arguments, session),
            Command::Tokenize(arguments) => arguments.window.run(arguments, session),
            Command::Detokenize(arguments) => arguments.window.run(arguments, session),
            Command::RenderChat(arguments) => arguments.window.run(arguments, session),
            Command::Logits(arguments) => arguments.window.run(arguments, session),
            Command::Embed(arguments) => arguments.window.run(arguments, session),
            Command::Rerank(arguments) => arguments.window.run(arguments, session),
            Command::Perplexity(arguments) => arguments.window.run(arguments, session),
            Command::Bench(arguments) => bench::run(arguments, session),
            Command::Cache(arguments) => cache::run(arguments, session),
            Command::Completions(arguments) => completions::run(arguments),
        }
    }
}
