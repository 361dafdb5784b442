//! Measures candle on a GGUF file: `trefoil-peer-candle MODEL THREADS`. Prints JSON as
//! `trefoil bench --json` does: tokens per second of `pp128` and `tg128`.

use std::error::Error;
use std::fs::File;
use std::time::Instant;

use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, threads] = arguments.as_slice() else {
        return Err("usage: trefoil-peer-candle MODEL THREADS".into());
    };
    // candle computes on rayon's pool, which looks at this when it starts.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads) };
    let mut file = File::open(path)?;
    let content = gguf_file::Content::read(&mut file)?;
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;

    let prompt: Vec<u32> = (0..128).map(|index| 1000 + 37 * index % 20_000).collect();
    // A pass at position 0 begins a new sequence.
    choose(&mut model, &prompt[..8], 0)?;
    let start = Instant::now();
    let mut token = choose(&mut model, &prompt, 0)?;
    let prefill = start.elapsed().as_secs_f64();
    token = choose(&mut model, &[token], 0)?;
    let start = Instant::now();
    for position in 1..129 {
        token = choose(&mut model, &[token], position)?;
    }
    let decode = start.elapsed().as_secs_f64();
    let results = serde_json::json!({ "results": [
        { "test": "pp128", "tokens_per_s": 128.0 / prefill },
        { "test": "tg128", "tokens_per_s": 128.0 / decode },
    ]});
    println!("{results}");
    Ok(())
}

/// The likeliest token behind `tokens`.
fn choose(model: &mut ModelWeights, tokens: &[u32], position: usize) -> candle_core::Result<u32> {
    let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
    let logits = model.forward(&input, position)?.squeeze(0)?;
    logits.argmax(0)?.to_scalar::<u32>()
}
