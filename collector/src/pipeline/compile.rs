//! Configured stages -> compiled ones: patterns, templates, selectors and paths are checked here, once.

use logstack_config::collector::Stage as StageConfig;

use super::counters::Counters;
use super::entry::Entry;
use super::stages::container::{Container, Format};
use super::stages::{
    Flow, decolorize, drop, eventlog, geoip, json, labels, limit, logfmt, luhn, matching, metrics, multiline, output,
    pack, regex, replace, sampling, structured_metadata, template, tenant, timestamp,
};
use super::{Context, Next};

/// A stage that cannot be used: where it stands and why not.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Error {
    /// Such as `[2].match.stages[0].regex.expression`.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

impl Error {
    /// At the key `place` of the stage that is being compiled.
    pub(super) fn new(place: impl Into<String>, reason: impl ToString) -> Self {
        Self { place: place.into(), reason: reason.to_string() }
    }
}

/// A compiled stage.
#[allow(clippy::large_enum_variant, reason = "a handful per job")]
pub(super) enum Stage {
    Container(Container),
    Regex(regex::Regex),
    Json(json::JsonExtractor),
    Logfmt(logfmt::Logfmt),
    EventLog(eventlog::EventLog),
    GeoIp(geoip::GeoIp),
    Replace(replace::Replace),
    Multiline(multiline::Multiline),
    Template(template::Template),
    Labels(labels::Labels),
    StaticLabels(labels::StaticLabels),
    LabelDrop(labels::LabelDrop),
    LabelAllow(labels::LabelAllow),
    StructuredMetadata(structured_metadata::StructuredMetadata),
    Timestamp(timestamp::Timestamp),
    Output(output::Output),
    Tenant(tenant::Tenant),
    Match(matching::Match),
    Drop(drop::Drop),
    Limit(limit::Limit),
    Sampling(sampling::Sampling),
    Metrics(metrics::Metrics),
    Pack(pack::Pack),
    Decolorize(decolorize::Decolorize),
    Luhn(luhn::Luhn),
}

impl Stage {
    /// As in the configuration.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Container(_) => "container",
            Self::Regex(_) => "regex",
            Self::Json(_) => "json",
            Self::Logfmt(_) => "logfmt",
            Self::EventLog(_) => "eventlogmessage",
            Self::GeoIp(_) => "geoip",
            Self::Replace(_) => "replace",
            Self::Multiline(_) => "multiline",
            Self::Template(_) => "template",
            Self::Labels(_) => "labels",
            Self::StaticLabels(_) => "static_labels",
            Self::LabelDrop(_) => "labeldrop",
            Self::LabelAllow(_) => "labelallow",
            Self::StructuredMetadata(_) => "structured_metadata",
            Self::Timestamp(_) => "timestamp",
            Self::Output(_) => "output",
            Self::Tenant(_) => "tenant",
            Self::Match(_) => "match",
            Self::Drop(_) => "drop",
            Self::Limit(_) => "limit",
            Self::Sampling(_) => "sampling",
            Self::Metrics(_) => "metrics",
            Self::Pack(_) => "pack",
            Self::Decolorize(_) => "decolorize",
            Self::Luhn(_) => "luhn",
        }
    }

    /// True when entries may be kept back.
    pub(super) fn keeps_back(&self) -> bool {
        match self {
            Self::Container(_) | Self::Multiline(_) => true,
            Self::Match(stage) => stage.stages.iter().any(Self::keeps_back),
            _ => false,
        }
    }

    /// Runs the stage; `next` takes entries that it emits besides the current one.
    pub(super) fn run(&mut self, entry: &mut Entry, cx: &mut Context<'_>, next: &mut Next<'_>) -> Flow {
        match self {
            Self::Container(stage) => return stage.run(entry, cx, next),
            Self::Multiline(stage) => return stage.run(entry, cx, next),
            Self::Json(stage) => return stage.run(entry),
            Self::Match(stage) => return stage.decide(entry),
            Self::Drop(stage) => return stage.run(entry, cx),
            Self::Limit(stage) => return stage.run(entry, cx),
            Self::Sampling(stage) => return stage.run(entry),
            Self::Regex(stage) => stage.run(entry),
            Self::Logfmt(stage) => stage.run(entry),
            Self::EventLog(stage) => stage.run(entry),
            Self::GeoIp(stage) => stage.run(entry, cx),
            Self::Replace(stage) => stage.run(entry),
            Self::Template(stage) => stage.run(entry),
            Self::Labels(stage) => stage.run(entry),
            Self::StaticLabels(stage) => stage.run(entry),
            Self::LabelDrop(stage) => stage.run(entry),
            Self::LabelAllow(stage) => stage.run(entry),
            Self::StructuredMetadata(stage) => stage.run(entry),
            Self::Timestamp(stage) => stage.run(entry, cx),
            Self::Output(stage) => stage.run(entry),
            Self::Tenant(stage) => stage.run(entry),
            Self::Metrics(stage) => stage.run(entry, cx),
            Self::Pack(stage) => stage.run(entry, cx),
            Self::Decolorize(stage) => stage.run(entry),
            Self::Luhn(stage) => stage.run(entry),
        }
        Flow::Next
    }
}

/// Compiles `stages`.
pub(super) fn stages(stages: &[StageConfig], counters: &Counters) -> Result<Vec<Stage>, Error> {
    let compile = |(idx, stage): (usize, &StageConfig)| {
        // What nobody reads need not be extracted.
        let is_read = stages[idx + 1..].iter().any(reads_extracted);
        one(stage, is_read, counters).map_err(|mut err| {
            let dot = if err.place.is_empty() || err.place.starts_with('[') { "" } else { "." };
            err.place = format!("[{idx}].{}{dot}{}", stage.name(), err.place);
            err
        })
    };
    stages.iter().enumerate().map(compile).collect()
}

fn one(stage: &StageConfig, is_read: bool, counters: &Counters) -> Result<Stage, Error> {
    Ok(match stage {
        StageConfig::Cri(config) => Stage::Container(Container::cri(config, is_read, counters)),
        StageConfig::Docker(_) => Stage::Container(Container::new(Format::Docker, is_read, counters)),
        StageConfig::Container(_) => Stage::Container(Container::new(Format::Auto, is_read, counters)),
        StageConfig::Regex(config) => Stage::Regex(regex::Regex::new(config)?),
        StageConfig::Json(config) => Stage::Json(json::JsonExtractor::new(config, counters)?),
        StageConfig::Logfmt(config) => Stage::Logfmt(logfmt::Logfmt::new(config)),
        StageConfig::EventLogMessage(config) => Stage::EventLog(eventlog::EventLog::new(config)),
        StageConfig::GeoIp(config) => Stage::GeoIp(geoip::GeoIp::new(config)?),
        StageConfig::Replace(config) => Stage::Replace(replace::Replace::new(config)?),
        StageConfig::Multiline(config) => Stage::Multiline(multiline::Multiline::new(config)?),
        StageConfig::Template(config) => Stage::Template(template::Template::new(config)?),
        StageConfig::Labels(config) => Stage::Labels(labels::Labels::new(config)),
        StageConfig::StaticLabels(config) => Stage::StaticLabels(labels::StaticLabels::new(config)),
        StageConfig::LabelDrop(config) => Stage::LabelDrop(labels::LabelDrop::new(config)),
        StageConfig::LabelAllow(config) => Stage::LabelAllow(labels::LabelAllow::new(config)),
        StageConfig::StructuredMetadata(config) => {
            Stage::StructuredMetadata(structured_metadata::StructuredMetadata::new(config))
        }
        StageConfig::Timestamp(config) => Stage::Timestamp(timestamp::Timestamp::new(config)?),
        StageConfig::Output(config) => Stage::Output(output::Output::new(config)),
        StageConfig::Tenant(config) => Stage::Tenant(tenant::Tenant::new(config)),
        StageConfig::Match(config) => Stage::Match(matching::Match::new(config, counters)?),
        StageConfig::Drop(config) => Stage::Drop(drop::Drop::new(config, counters)?),
        StageConfig::Limit(config) => Stage::Limit(limit::Limit::new(config, counters)),
        StageConfig::Sampling(config) => Stage::Sampling(sampling::Sampling::new(config, counters)),
        StageConfig::Metrics(config) => Stage::Metrics(metrics::Metrics::new(config, counters)?),
        StageConfig::Pack(config) => Stage::Pack(pack::Pack::new(config)),
        StageConfig::Decolorize(_) => Stage::Decolorize(decolorize::Decolorize),
        StageConfig::Luhn(config) => Stage::Luhn(luhn::Luhn::new(config)),
    })
}

/// True when a stage may look at what an earlier one extracted.
fn reads_extracted(stage: &StageConfig) -> bool {
    match stage {
        StageConfig::Cri(_)
        | StageConfig::Docker(_)
        | StageConfig::Container(_)
        | StageConfig::Multiline(_)
        | StageConfig::StaticLabels(_)
        | StageConfig::LabelDrop(_)
        | StageConfig::LabelAllow(_)
        | StageConfig::Limit(_)
        | StageConfig::Sampling(_)
        | StageConfig::Decolorize(_) => false,
        StageConfig::Regex(config) => config.source.is_some(),
        StageConfig::Json(config) => config.source.is_some(),
        StageConfig::Logfmt(config) => config.source.is_some(),
        StageConfig::Drop(config) => config.source.is_some(),
        StageConfig::Match(config) => config.stages.iter().any(reads_extracted),
        _ => true,
    }
}
