use super::{
    Failure, IsTerminal, Model, Options, RequestOptions, Stats, answer, conversation, io, message,
    print, utf8,
};
use std::io::BufRead;

/// One message a line until the input ends. The engine keeps the dialogue's text in its cache,
/// so that each turn computes only what is new.
pub(crate) fn run(
    model: &Model,
    options: &Options,
    wanted: &RequestOptions,
    stats: &mut Stats,
) -> Result<(), Failure> {
    let interactive = io::stdin().is_terminal();
    let mut messages = options.opening();
    let mut input = io::stdin().lock();
    for line in 1.. {
        if interactive {
            print(io::stderr(), "> ")?;
        }
        let mut bytes = Vec::new();
        let length = input
            .read_until(b'\n', &mut bytes)
            .map_err(|error| Failure::Input(format!("standard input cannot be read: {error}")))?;
        if length == 0 {
            break;
        }
        let text = utf8(bytes, line)?;
        match text.trim() {
            "" => continue,
            "/clear" => {
                messages = options.opening();
                continue;
            }
            "/bye" | "/exit" | "/quit" if interactive => break,
            text => messages.push(message("user", text)),
        }
        let reply = answer(model, conversation(messages.clone()), wanted, stats)?;
        print(io::stdout(), "\n")?;
        messages.push(reply.message());
    }
    if interactive {
        print(io::stderr(), "\n")?;
    }
    Ok(())
}
