//! `| drop a, b="v"` and `| keep a, b=~"r"`.

use super::label_filter::{TextMatcher, is_error_name, text_of};
use crate::ast::LabelSelection;
use crate::pipeline::Context;
use crate::pipeline::names::{ERROR, NameId, Names};
use logstack_go::re2;

/// A label, and the values that are meant; `None` means all.
struct Item {
    name: NameId,
    matcher: Option<TextMatcher>,
}

fn compile(selections: &[LabelSelection], names: &mut Names) -> Result<Vec<Item>, re2::Error> {
    let item = |selection: &LabelSelection| match selection {
        LabelSelection::Name(name) => Ok(Item { name: names.intern(name), matcher: None }),
        LabelSelection::Matching(matcher) => {
            Ok(Item { name: names.intern(&matcher.name), matcher: Some(TextMatcher::anchored(matcher)?) })
        }
    };
    selections.iter().map(item).collect()
}

/// Removes labels of any category.
pub(crate) struct Drop(Vec<Item>);

impl Drop {
    pub(crate) fn new(selections: &[LabelSelection], names: &mut Names) -> Result<Self, re2::Error> {
        Ok(Self(compile(selections, names)?))
    }

    pub(crate) fn run(&self, cx: &mut Context<'_>) {
        for Item { name, matcher } in &self.0 {
            let matches = match matcher {
                Some(matcher) => matcher.matches(text_of(*name, cx.labels, &cx.env)),
                None => true,
            };
            if !matches {
                continue;
            }
            if is_error_name(*name) {
                // Only what stages reported; a label of that name in the line stays (golden `drop_keep`).
                if *name == ERROR { cx.labels.clear_error() } else { cx.labels.clear_error_details() }
            } else {
                cx.labels.delete(*name);
            }
        }
    }
}

/// Removes every label that no item accepts; errors stay.
pub(crate) struct Keep(Vec<Item>);

impl Keep {
    pub(crate) fn new(selections: &[LabelSelection], names: &mut Names) -> Result<Self, re2::Error> {
        Ok(Self(compile(selections, names)?))
    }

    pub(crate) fn run(&self, cx: &mut Context<'_>) {
        cx.labels.retain(&cx.env, |name, value| {
            let accepts = |item: &Item| item.matcher.as_ref().is_none_or(|matcher| matcher.matches(value));
            self.0.iter().any(|item| item.name == name && accepts(item))
        });
    }
}
