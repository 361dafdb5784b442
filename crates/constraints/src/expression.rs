//! Regular expressions as the library takes them.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

/// What a parser of expressions says, without the expression and the pointer under it.
pub(crate) fn reason(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    }
}

/// The byte at which an expression is broken.
pub(crate) fn place(error: &regex_syntax::Error) -> usize {
    match error {
        regex_syntax::Error::Parse(error) => error.span().start.offset,
        regex_syntax::Error::Translate(error) => error.span().start.offset,
        _ => 0,
    }
}

/// The same expression without captures: the library takes one named `stop` for a look-ahead.
pub(crate) fn without_captures(hir: Hir) -> Hir {
    rebuilt(hir, &|class| class)
}

/// Besides, without U+0000 in classes, which JSON strings of answers have no way to write. In a
/// class with all control characters the library lets `\\"` and `\\\\` pass, though the class may
/// lack the quotation mark and the backslash.
pub(crate) fn without_captures_and_nul(hir: Hir) -> Hir {
    rebuilt(hir, &|mut class| {
        class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\0', '\0')]));
        class
    })
}

/// Nested at most as deep as the parser lets expressions be.
fn rebuilt(hir: Hir, change: &impl Fn(ClassUnicode) -> ClassUnicode) -> Hir {
    let all = |parts: Vec<Hir>| parts.into_iter().map(|part| rebuilt(part, change)).collect();
    match hir.into_kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(Class::Unicode(class)) => Hir::class(Class::Unicode(change(class))),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Repetition(mut repetition) => {
            repetition.sub = Box::new(rebuilt(*repetition.sub, change));
            Hir::repetition(repetition)
        }
        HirKind::Capture(capture) => rebuilt(*capture.sub, change),
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
    }
}
