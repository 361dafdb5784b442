use super::*;

fn text(key: &str, value: &str) -> Setting {
    Setting::new(key, Value::Text(value.into()))
}

fn refused(settings: &[Setting], scope: Scope) -> String {
    let mut all = Settings::default();
    let before = all.clone();
    let error = all.apply(settings, scope, "cpu.").expect_err("should be refused");
    assert_eq!(all, before, "a refused layer changes nothing");
    error.to_string()
}

#[test]
fn every_key_accepts_its_default_and_sets_what_it_gets() {
    for key in TABLE {
        for value in key.default_values() {
            // The empty template stands for "the model's own", which is in range.
            assert!(key.kind.accepts(&value), "{} refuses its default {value}", key.name);
        }
        let value = match key.kind {
            Kind::Integer { max, .. } => Value::Integer(max),
            Kind::Number { max, .. } => Value::Number(max),
            Kind::Text { .. } | Kind::Texts { .. } => Value::Text("x".into()),
            Kind::Choice(texts) => Value::Text(texts[texts.len() - 1].into()),
        };
        let mut settings = Settings::default();
        settings.apply(&[Setting::new(key.name, value.clone())], Scope::Model, "cpu.").unwrap();
        assert_eq!((key.get)(&settings), [value], "{}", key.name);
    }
}

#[test]
fn a_requests_settings_come_back_from_their_list() {
    let default = Settings::default().request;
    assert_eq!(RequestSettings::from_list(&default.to_list()), Ok(default.clone()));
    let changed = RequestSettings {
        shifts_context: true,
        stop: vec!["a".into(), "b".into()],
        dry_sequence_breakers: vec!["x".into()],
        temperature: 0.1 + 0.2,
        seed: i64::MAX as u64,
        reasoning: "text".into(),
        ..default
    };
    assert_eq!(RequestSettings::from_list(&changed.to_list()), Ok(changed));
}

#[test]
fn names_are_unique_and_documented() {
    for (index, key) in TABLE.iter().enumerate() {
        assert!(TABLE[..index].iter().all(|earlier| earlier.name != key.name), "{}", key.name);
        assert!(key.doc.ends_with('.'), "{}", key.name);
    }
}

#[test]
fn later_layers_win_and_a_list_replaces_the_earlier_one() {
    let mut settings = Settings::default();
    let first = [
        Setting::new("temperature", Value::Number(0.1)),
        Setting::new("top-k", Value::Integer(7)),
        text("stop", "a"),
        text("stop", "b"),
    ];
    settings.apply(&first, Scope::Model, "cpu.").unwrap();
    assert_eq!(settings.request.stop, ["a", "b"]);
    let second = [Setting::new("temperature", Value::Integer(1)), text("stop", "c")];
    settings.apply(&second, Scope::Request, "cpu.").unwrap();
    assert_eq!(settings.request.temperature, 1.0);
    assert_eq!(settings.request.top_k, 7);
    assert_eq!(settings.request.stop, ["c"]);
}

#[test]
fn refuses_with_key_value_and_range() {
    let out_of_range = [Setting::new("top-p", Value::Number(1.5))];
    assert_eq!(
        refused(&out_of_range, Scope::Model),
        "setting `top-p` cannot be `1.5`: expected a number from 0 to 1"
    );
    let not_a_number = [Setting::new("temperature", Value::Number(f64::NAN))];
    assert_eq!(
        refused(&not_a_number, Scope::Model),
        "setting `temperature` cannot be `NaN`: expected a number from 0 to 10"
    );
    assert_eq!(
        refused(&[text("top-k", "many")], Scope::Model),
        "setting `top-k` cannot be `many`: expected a whole number from 0 to 16777216"
    );
}

#[test]
fn refuses_unknown_keys_and_suggests() {
    assert_eq!(
        refused(&[text("temprature", "1")], Scope::Model),
        "setting `temprature` cannot be `1`: expected a known key; did you mean `temperature`?"
    );
    let message = refused(&[text("colour", "blue")], Scope::Model);
    assert!(message.contains("one of the keys context-tokens, "), "{message}");
}

#[test]
fn refuses_in_a_request_what_is_fixed_at_opening() {
    let message = refused(&[Setting::new("context-tokens", Value::Integer(9))], Scope::Request);
    assert!(message.contains("fixed when a model is opened"), "{message}");
}

#[test]
fn ignores_other_engines_keys_and_refuses_its_own_unknown_ones() {
    let mut settings = Settings::default();
    settings.apply(&[text("nn.device", "gpu")], Scope::Model, "cpu.").unwrap();
    assert_eq!(settings, Settings::default());
    let message = refused(&[text("cpu.device", "gpu")], Scope::Model);
    assert!(message.starts_with("setting `cpu.device` cannot be `gpu`"), "{message}");
}

#[test]
fn parses_command_line_text_by_type() {
    assert_eq!(parse("top-k", "5").unwrap().value, Value::Integer(5));
    assert_eq!(parse("temperature", "1").unwrap().value, Value::Number(1.0));
    assert_eq!(parse("stop", "5").unwrap().value, Value::Text("5".into()));
    assert!(parse("top-k", "5.5").is_err());
}

#[test]
fn the_documented_table_is_the_one_in_force() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
    let page = std::fs::read_to_string(page).expect("docs/settings.md exists");
    assert!(page == markdown(), "docs/settings.md is stale: run `cargo xtask docs`");
}

#[cfg(feature = "toml")]
mod toml_files {
    use super::*;

    #[test]
    fn lists_and_tables_become_settings() {
        let settings =
            from_toml("temperature = 0.5\nstop = [\"a\", \"b\"]\n[nn]\ndevice = \"gpu\"\n")
                .unwrap();
        let expected = [
            Setting::new("temperature", Value::Number(0.5)),
            text("stop", "a"),
            text("stop", "b"),
            text("nn.device", "gpu"),
        ];
        for setting in &expected {
            assert!(settings.contains(setting), "{setting:?} is missing from {settings:?}");
        }
        assert_eq!(settings.len(), expected.len());
    }

    #[test]
    fn the_readmes_example_is_a_configuration() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let readme = std::fs::read_to_string(readme).expect("README.md exists");
        let example = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let settings = from_toml(example.expect("README shows a TOML file")).unwrap();
        assert_eq!(settings.len(), 3, "{settings:?}");
    }

    #[test]
    fn errors_name_the_line() {
        let refused = |text| from_toml(text).expect_err("should be refused").to_string();
        assert_eq!(
            refused("top-k = 4\ntop-p = 3\n"),
            "line 2: setting `top-p` cannot be `3`: expected a number from 0 to 1"
        );
        assert!(refused("top-k = = 4").contains("line 1, column 9"));
        assert!(refused("seed = 1979-05-27").contains("setting `seed` cannot be `1979-05-27`"));
    }
}
