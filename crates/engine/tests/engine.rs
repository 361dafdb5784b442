//! The engine behind its imports, natively, on tiny generated models.

use std::rc::Rc;

use trefoil_contract::{
    Conversation, Error, Event, FORMAT_GGUF, FORMAT_GGUF_ROWS_16, FinishReason, Message,
    MessagePart, Prompt, ROWS_16_VERSION_KEY, Relevance, Result, Setting, TokenizeOptions, Value,
};
use trefoil_engine::{Engine, Imports, Request, advance};
use trefoil_fixtures::{TinyLlama, golden, tiny_llama};

mod support;
use support::{
    Memory, engine, finish, greedy, holding, integer, memory, message, start, text, tiny,
};

fn chat(messages: &[Message]) -> Prompt {
    Prompt::Chat(Conversation {
        messages: messages.to_vec(),
        tools: None,
        variables: None,
        add_generation_prompt: true,
    })
}

#[test]
fn a_request_takes_precedence_over_configure_configuration_metadata_and_default() {
    // One level more in each round; every level sets another number of tokens.
    let metadata = TinyLlama {
        values: vec![("general.sampling.top_k".into(), trefoil_gguf::Value::I32(1))],
        ..TinyLlama::default()
    };
    let prompt = || text("Once upon a time");
    let length = |imports: Memory, app: &[Setting], request: &[Setting]| {
        let engine = engine(imports);
        engine.configure(app.to_vec()).unwrap();
        let model = engine.open(None).unwrap();
        let (_, tokens, ..) = finish(&start(&model, prompt(), request).unwrap());
        tokens
    };
    let configured = |options: &TinyLlama| {
        let mut imports = memory(std::slice::from_ref(options));
        imports.configuration = Ok(vec![integer("max-tokens", 5)]);
        imports
    };
    let plain = TinyLlama::default();
    let greedy_temperature = Setting::new("temperature", Value::Number(0.0));

    // Metadata over default: with top-k 1 the answer is greedy although the temperature is 0.8.
    let by_metadata = length(configured(&metadata), &[], &[]);
    let by_greedy = length(configured(&plain), &[], std::slice::from_ref(&greedy_temperature));
    assert_eq!(by_metadata, by_greedy);
    // Configuration over metadata.
    let mut imports = configured(&metadata);
    imports.configuration = Ok(vec![
        integer("max-tokens", 5),
        integer("top-k", 0),
        integer("seed", 3),
        Setting::new("temperature", Value::Number(5.0)),
    ]);
    assert_ne!(length(imports, &[], &[]), by_greedy);
    // The app's `configure` over the configuration component.
    assert_eq!(length(configured(&metadata), &[integer("max-tokens", 3)], &[]).len(), 3);
    // The request over the app's `configure`.
    let app = [integer("max-tokens", 3)];
    assert_eq!(length(configured(&metadata), &app, &[integer("max-tokens", 7)]).len(), 7);
}

#[test]
fn settings_are_refused_at_every_level_with_key_and_range() {
    let range = "setting `top-p` cannot be `2`: expected a number from 0 to 1";
    let bad = Setting::new("top-p", Value::Number(2.0));
    assert_eq!(message(tiny().configure(vec![bad.clone()])), range);
    let mut imports = memory(&[TinyLlama::default()]);
    imports.configuration = Ok(vec![bad.clone()]);
    assert_eq!(message(engine(imports).open(None)), range);
    let model = tiny().open(None).unwrap();
    assert_eq!(message(start(&model, text("a"), &[bad])), range);
}

#[test]
fn the_configuration_components_own_words_reach_the_app() {
    let mut imports = memory(&[TinyLlama::default()]);
    imports.configuration = Err("no weekend shifts".into());
    let text = message(engine(imports).open(None));
    assert!(text.contains("no weekend shifts"), "{text}");
}

#[test]
fn models_open_by_name_once_and_are_freed() {
    let named = |name: &str, seed| TinyLlama { name: name.into(), seed, ..TinyLlama::default() };
    let imports = Rc::new(memory(&[named("first", 1), named("second", 2)]));
    let engine = Engine::new("cpu", Rc::clone(&imports) as Rc<dyn Imports>);
    assert_eq!(engine.models().unwrap().len(), 2);
    let first = engine.open(None).unwrap();
    assert_eq!(first.info().name, "first");
    let loaded = imports.bytes_read.get();
    let again = engine.open(Some("first")).unwrap();
    assert!(Rc::ptr_eq(&first, &again));
    assert_eq!(imports.bytes_read.get(), loaded, "an open model is not loaded again");
    assert_eq!(engine.open(Some("second")).unwrap().info().name, "second");
    assert_eq!(
        message(engine.open(Some("third"))),
        "not found: no model is named `third`; there are: `first`, `second`"
    );
    let weak = Rc::downgrade(&first);
    drop((first, again));
    assert!(weak.upgrade().is_none(), "dropping the last handle frees the weights");
}

#[test]
fn models_share_the_memory_of_an_instance() {
    let named = |name: &str, seed| TinyLlama {
        name: name.into(),
        seed,
        context_tokens: 10_000,
        ..TinyLlama::default()
    };
    let imports = memory(&[named("first", 1), named("second", 2)]);
    let engine = Engine::new("cpu", Rc::new(imports)).with_memory(12 << 20);
    let first = engine.open(Some("first")).unwrap();
    assert_eq!(first.info().context_tokens, 8192);
    let second = engine.open(Some("second")).unwrap();
    assert!((512..5000).contains(&second.info().context_tokens), "{:?}", second.info());
    drop(second);
    engine.configure(vec![integer("context-tokens", 8192)]).unwrap();
    assert!(message(engine.open(Some("second"))).starts_with("out of memory"));
    drop(first);
    assert_eq!(engine.open(Some("second")).unwrap().info().context_tokens, 8192);
}

#[test]
fn a_dialogue_computes_only_what_is_new() {
    let model = tiny().open(None).unwrap();
    let mut messages = vec![Message::text("user", "hello there, how are you")];
    let first = start(&model, chat(&messages), &greedy(8)).unwrap();
    let (answer, _, _, usage) = finish(&first);
    assert_eq!(usage.cached_tokens, 0);
    drop(first);
    messages.push(Message::text("assistant", answer));
    messages.push(Message::text("user", "and now"));
    let second = start(&model, chat(&messages), &greedy(8)).unwrap();
    let (.., again) = finish(&second);
    assert!(
        again.cached_tokens >= usage.prompt_tokens,
        "{again:?} reuses at least the first prompt of {usage:?}"
    );
}

#[test]
fn batched_generations_equal_single_ones() {
    let engine = tiny();
    let model = engine.open(None).unwrap();
    let prompts = ["one", "two and three", "Once upon a time there was"];
    let alone: Vec<_> = prompts
        .iter()
        .map(|prompt| finish(&start(&model, text(prompt), &greedy(12)).unwrap()).1)
        .collect();
    let fresh = tiny().open(None).unwrap();
    let generations: Vec<_> =
        prompts.iter().map(|prompt| start(&fresh, text(prompt), &greedy(12)).unwrap()).collect();
    let borrowed: Vec<_> = generations.iter().collect();
    let mut together = vec![Vec::new(); prompts.len()];
    let mut open = prompts.len();
    while open > 0 {
        for (index, event) in advance(&borrowed).into_iter().enumerate() {
            match event {
                Ok(Event::Delta(delta)) => together[index].extend(delta.tokens),
                Ok(Event::Done(_)) => open -= 1,
                Ok(_) | Err(Error::Finished) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(together, alone);
}

#[test]
fn advance_answers_in_order_across_models_and_marks_duplicates() {
    let named = |name: &str, seed| TinyLlama { name: name.into(), seed, ..TinyLlama::default() };
    let engine = engine(memory(&[named("a", 1), named("b", 2)]));
    let (a, b) = (engine.open(Some("a")).unwrap(), engine.open(Some("b")).unwrap());
    let of_a = start(&a, text("x"), &greedy(1)).unwrap();
    let of_b = start(&b, text("x"), &greedy(4)).unwrap();
    let events = advance(&[&of_a, &of_b, &of_a]);
    assert!(matches!(events[0], Ok(Event::Delta(_))), "{events:?}");
    assert!(matches!(events[1], Ok(Event::Delta(_))), "{events:?}");
    assert_eq!(events[2], Err(Error::Duplicate));
    assert!(matches!(of_a.next(), Ok(Event::Done(_))));
    let events = advance(&[&of_a, &of_b]);
    assert_eq!(events[0], Err(Error::Finished));
    assert!(matches!(events[1], Ok(Event::Delta(_))), "a finished neighbour does no harm");
}

#[test]
fn prompts_beyond_the_context_say_both_sizes() {
    let engine = tiny();
    engine.configure(vec![integer("context-tokens", 16)]).unwrap();
    let model = engine.open(None).unwrap();
    let prompt = Prompt::Tokens(vec![65; 20]);
    let error = start(&model, prompt, &[]).err();
    let Some(Error::ContextOverflow { needed_tokens, available_tokens }) = error else {
        panic!("{error:?}");
    };
    assert!(needed_tokens >= 20);
    assert_eq!(available_tokens, 16);
    // Of a text that is far too long nobody counts the tokens: it is refused by the fewest that it
    // can have, which are fewer than it has.
    let endless = vec![b'a'; 1 << 20];
    let texts = (0..model.info().vocabulary_tokens).map(|token| model.detokenize(&[token], true));
    let longest = texts.map(|text| text.unwrap().len()).max().unwrap().max(4);
    let needed_tokens = endless.len().div_ceil(longest) as u64;
    assert!(needed_tokens < model.tokenize(&endless, TokenizeOptions::default()).len() as u64);
    let error = start(&model, Prompt::Text(endless), &[]).err();
    assert_eq!(error, Some(Error::ContextOverflow { needed_tokens, available_tokens: 16 }));
    let short = start(&model, Prompt::Tokens(vec![65; 10]), &greedy(0)).unwrap();
    let (_, tokens, reason, _) = finish(&short);
    assert_eq!(reason, FinishReason::ContextFull);
    assert!((6..=7).contains(&tokens.len()), "{} tokens behind 10 of 16", tokens.len());
}

#[test]
fn more_generations_than_places_are_refused_until_one_is_dropped() {
    let engine = tiny();
    engine.configure(vec![integer("sequences-max", 2)]).unwrap();
    let model = engine.open(None).unwrap();
    let first = start(&model, text("a"), &[]).unwrap();
    let _second = start(&model, text("b"), &[]).unwrap();
    assert!(matches!(start(&model, text("c"), &[]), Err(Error::Busy(_))));
    drop(first);
    assert!(start(&model, text("c"), &[]).is_ok(), "dropping cancels and frees the place");
}

#[test]
fn the_same_seed_gives_the_same_answer_and_another_one_another() {
    let model = tiny().open(None).unwrap();
    let sample = |seed| {
        let settings = [
            integer("seed", seed),
            integer("max-tokens", 24),
            Setting::new("temperature", Value::Number(2.0)),
        ];
        finish(&start(&model, text("Once"), &settings).unwrap()).1
    };
    assert_eq!(sample(5), sample(5));
    assert_ne!(sample(5), sample(6));
}

#[test]
fn what_the_engine_cannot_do_yet_is_unsupported_by_name() {
    let model = tiny().open(None).unwrap();
    let refused = |prepare: &dyn Fn(&mut Request)| {
        let mut request = Request::new(Rc::clone(&model), text("a"));
        prepare(&mut request);
        let error = request.start().err();
        let Some(Error::Unsupported(text)) = error else { panic!("{error:?}") };
        text
    };
    let schema = r#"{"items": {"uniqueItems": true}}"#;
    let schema = trefoil_contract::ResponseFormat::JsonSchema(schema.into());
    let format = refused(&|request| request.set_response_format(schema.clone()));
    assert!(format.starts_with("unsupported: the keyword `uniqueItems`"), "{format}");
    assert!(format.contains("`#/items/uniqueItems`"), "{format}");
    let media = Message {
        role: "user".into(),
        parts: vec![MessagePart::Media { mime: "image/png".into(), data: vec![1] }],
        variables: None,
    };
    let error = message(start(&model, chat(&[media]), &[]));
    assert!(error.starts_with("unsupported: ") && error.contains("image/png"), "{error}");
}

#[test]
fn a_model_without_a_template_says_so_and_offers_raw() {
    let options =
        TinyLlama { omitted_keys: vec!["tokenizer.chat_template".into()], ..TinyLlama::default() };
    let model = engine(memory(&[options])).open(None).unwrap();
    assert!(!model.info().has_chat_template);
    let error = message(start(&model, chat(&[Message::text("user", "hi")]), &[]));
    assert!(error.contains("`--raw`"), "{error}");
}

#[test]
fn a_template_that_loops_or_fails_is_an_error_and_no_hang() {
    let with = |template: &str| {
        let engine = tiny();
        engine.configure(vec![Setting::new("chat-template", Value::Text(template.into()))])?;
        let model = engine.open(None)?;
        start(&model, chat(&[Message::text("user", "hi")]), &[])
    };
    let looping = with(
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
    );
    assert!(matches!(looping, Err(Error::Template(_))));
    let raising = message(with("{{ raise_exception('roles must alternate') }}"));
    assert!(raising.contains("roles must alternate"), "{raising}");
    let broken = message(with("a\n{% if %}"));
    assert!(broken.contains("line 2"), "{broken}");
}

#[test]
fn logits_and_scores_agree_with_each_other() {
    let model = tiny().open(None).unwrap();
    let options = TokenizeOptions::default();
    let tokens = model.tokenize(b"Once upon a time", options);
    let logits = model.logits(&tokens[..tokens.len() - 1]).unwrap();
    let scores = model.score(&tokens).unwrap();
    assert_eq!(scores.len(), tokens.len() - 1);
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    let last = tokens[tokens.len() - 1] as usize;
    let expected = f64::from(logits[last] - largest) - sum.ln();
    let found = f64::from(scores[scores.len() - 1]);
    assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
}

#[test]
fn text_becomes_tokens_and_text_again() {
    let model = tiny().open(None).unwrap();
    let sentence = "Grüße, 12 cats!".as_bytes();
    let tokens = model.tokenize(sentence, TokenizeOptions::default());
    assert_eq!(model.detokenize(&tokens, false).unwrap(), sentence);
    let marked = TokenizeOptions { parse_special: true, add_special: false };
    let special = model.tokenize(b"<|im_end|>", marked);
    assert_eq!(special.len(), 1);
    assert_eq!(model.detokenize(&special, true).unwrap(), b"<|im_end|>");
    assert_eq!(model.detokenize(&special, false).unwrap(), b"");
    assert!(matches!(model.detokenize(&[u32::MAX], true), Err(Error::InvalidArgument(_))));
}

#[test]
fn formats_are_refused_unless_known_and_true() {
    let open = |format: &str, values: &[(&str, u32)]| {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).into()));
        let mut imports = memory(&[TinyLlama { values: values.collect(), ..TinyLlama::default() }]);
        imports.models[0].0.format = format.into();
        message(engine(imports).open(None).map(drop))
    };
    let unknown = open("gguf-rows-64", &[]);
    assert!(unknown.starts_with("unsupported: the format `gguf-rows-64`"), "{unknown}");
    assert!(unknown.ends_with("supported: gguf, gguf-rows-16"), "{unknown}");
    for (format, values) in
        [(FORMAT_GGUF_ROWS_16, &[][..]), (FORMAT_GGUF, &[(ROWS_16_VERSION_KEY, 1)])]
    {
        let error = open(format, values);
        assert!(error.contains(ROWS_16_VERSION_KEY) && error.contains(format), "{error}");
    }
    let later = open(FORMAT_GGUF_ROWS_16, &[(ROWS_16_VERSION_KEY, 1000)]);
    assert!(later.starts_with("unsupported: version 1000 of the layout"), "{later}");
}

#[test]
fn hostile_files_are_refused_without_a_panic() {
    let valid = tiny_llama(&TinyLlama::default());
    for fault in trefoil_fixtures::broken(&valid) {
        let mut imports = memory(&[TinyLlama::default()]);
        imports.models[0].0.size = fault.bytes.len() as u64;
        imports.models[0].1 = fault.bytes;
        let error = message(engine(imports).open(None));
        let expected = fault.message;
        assert!(error.contains(expected), "{}: `{error}` lacks `{expected}`", fault.name);
    }
}

fn embed(settings: &[Setting]) -> Result<Vec<f32>> {
    let engine = tiny();
    engine.configure(settings.to_vec())?;
    let model = engine.open(None)?;
    let options = TokenizeOptions { add_special: true, parse_special: false };
    model.embed(&model.tokenize(b"hello, world", options))
}

#[test]
fn a_model_that_does_not_say_how_it_embeds_needs_the_setting() {
    let error = embed(&[]).expect_err("nobody says how").to_string();
    for piece in ["`Tiny Llama`", "`llama.pooling_type`", "`mean`, `cls` or `last`", "`--pooling`"]
    {
        assert!(error.contains(piece), "{error}");
    }
    let pooling = |name: &str| vec![Setting::new("pooling", Value::Text(name.into()))];
    let vectors = ["mean", "cls", "last"].map(|name| embed(&pooling(name)).expect("a vector"));
    for vector in &vectors {
        let square: f64 = vector.iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((square - 1.0).abs() < 1e-6, "{square}");
        assert_eq!(vector.len(), TinyLlama::default().embedding_length as usize);
    }
    assert!(vectors[0] != vectors[1] && vectors[0] != vectors[2] && vectors[1] != vectors[2]);
    // However many tokens one step computes.
    let chunks = [pooling("mean"), vec![integer("prefill-tokens", 3)]].concat();
    assert_eq!(embed(&chunks).as_ref(), Ok(&vectors[0]));
    assert!(matches!(embed(&pooling("rank")), Err(Error::InvalidSetting { .. })));
}

/// The vector's distance from llama.cpp's, of which it is a share; larger ones are errors.
fn tolerance(name: &str) -> f64 {
    match name {
        "bert-types" => 0.03,
        // llama.cpp looks GELU up in a table of half precision.
        "bert-mean" | "bert-cls" => 1e-3,
        // The engine caches keys and values in half precision.
        name if name.starts_with("qwen3") => 2e-3,
        _ => 1e-4,
    }
}

#[test]
fn texts_are_embedded_as_llama_cpp_does() {
    let models = golden::embeddings();
    let files = models.iter().map(|model| (model.name.clone(), model.file.clone()));
    let engine = engine(holding(files));
    for golden::EmbeddingModel { name, golden, .. } in &models {
        let model = engine.open(Some(name)).expect("opens");
        let options = TokenizeOptions { add_special: true, parse_special: false };
        let tokens = model.tokenize(golden.text.as_bytes(), options);
        assert_eq!(tokens, golden.tokens, "{name}");
        let vector = model.embed(&tokens).expect("a vector");
        assert_eq!(vector.len(), model.info().embedding_length as usize);
        let norm = golden.vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        let pairs = vector.iter().zip(&golden.vector);
        let square: f64 =
            pairs.map(|(x, expected)| (f64::from(*x) - expected / norm).powi(2)).sum();
        // Written so that NaN fails.
        let is_close = square.sqrt() <= tolerance(name);
        assert!(is_close, "{name}: {:.1e}", square.sqrt());
    }
}

#[test]
fn texts_are_ranked_as_llama_cpp_does() {
    let models = golden::ranking();
    let files = models.iter().map(|model| (model.name.clone(), model.file.clone()));
    let engine = engine(holding(files));
    for golden::RankingModel { name, golden, .. } in &models {
        let model = engine.open(Some(name)).expect("opens");
        for expected in &golden.documents {
            let ranked = model.relevance(golden.query.as_bytes(), expected.document.as_bytes());
            let Relevance { score, tokens } = ranked.expect("a score");
            assert_eq!(tokens as usize, expected.tokens.len(), "{name}: {}", expected.document);
            // Written so that NaN fails.
            let is_close = (f64::from(score) - expected.score).abs() < 1e-3;
            assert!(is_close, "{name}: {}: {score}, not {}", expected.document, expected.score);
        }
        let query = golden.query.as_bytes();
        let long = model.relevance(query, &[b'x'; 2000]);
        assert!(matches!(long, Err(Error::ContextOverflow { .. })), "{long:?}");
        let long = model.relevance(query, "a b ".repeat(70).as_bytes());
        assert!(matches!(long, Err(Error::ContextOverflow { .. })), "{long:?}");
        // Vectors it has only if it is told how.
        assert!(matches!(model.embed(&[2, 3]), Err(Error::Unsupported(_))));
    }
    let other = tiny().open(None).expect("opens").relevance(b"one", b"two");
    assert!(other.expect_err("does not rank").to_string().contains("a reranker"));
}

#[test]
fn an_encoder_generates_nothing_and_says_what_it_does() {
    let models = golden::embeddings().into_iter().map(|model| (model.name, model.file));
    let engine = engine(holding(models));
    let model = engine.open(Some("nomic-bert")).expect("opens");
    let message =
        "generating text with the model `nomic-bert` (`nomic-bert`), an encoder; use `embed`";
    let refused = Error::unsupported(message);
    assert_eq!(start(&model, text("one"), &[]).err(), Some(refused.clone()));
    assert_eq!(start(&model, Prompt::Tokens(vec![2]), &[]).err(), Some(refused.clone()));
    assert_eq!(model.logits(&[2, 7]), Err(refused.clone()));
    assert_eq!(model.score(&[2, 7]), Err(refused));
    let long = Error::ContextOverflow { needed_tokens: 129, available_tokens: 128 };
    assert_eq!(model.embed(&[2; 129]), Err(long));
    let beyond = model.embed(&[2, 1_000_000]).expect_err("is no token");
    assert!(beyond.to_string().contains("1000000"), "{beyond}");
}

#[test]
fn answers_have_the_form_that_is_asked_for_whatever_computes_beside_them() {
    let engine = tiny();
    engine.configure(vec![integer("sequences-max", 2)]).unwrap();
    let model = engine.open(None).unwrap();
    let schema = r#"{"type": "object", "properties": {"ok": {"type": "boolean"}, "of": {"enum": ["a", "b", 1]}},
                     "required": ["ok", "of"], "additionalProperties": false}"#;
    for seed in 0..5 {
        let mut request = Request::new(Rc::clone(&model), text("a"));
        request.set(Setting::new("temperature", Value::Number(1.5)));
        request.set(integer("seed", seed));
        request.set_response_format(trefoil_contract::ResponseFormat::JsonSchema(schema.into()));
        let formed = request.start().unwrap();
        let free = start(&model, text("b"), &[integer("max-tokens", 5)]).unwrap();
        for _ in 0..5 {
            assert!(advance(&[&formed, &free]).iter().all(Result::is_ok));
        }
        drop(free);
        let (mut answer, _, reason, _) = finish(&formed);
        assert_eq!(reason, FinishReason::Stop);
        // What the first steps brought is not in it: what is left ends the object.
        assert!(answer.trim_end().ends_with('}'), "{answer}");
        let again = {
            let mut request = Request::new(Rc::clone(&model), text("a"));
            request.set(Setting::new("temperature", Value::Number(1.5)));
            request.set(integer("seed", seed));
            request
                .set_response_format(trefoil_contract::ResponseFormat::JsonSchema(schema.into()));
            request.start().unwrap()
        };
        let whole = finish(&again).0;
        assert!(whole.ends_with(&answer), "{whole}");
        answer = whole.split_whitespace().collect();
        let allowed =
            |ok: &str| ["\"a\"", "\"b\"", "1"].map(|of| format!("{{\"ok\":{ok},\"of\":{of}}}"));
        assert!(
            allowed("true").contains(&answer) || allowed("false").contains(&answer),
            "{answer}"
        );
    }
}
