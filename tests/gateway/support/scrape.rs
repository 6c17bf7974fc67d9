//! `Scrape`: `/metrics` as a monitoring system sees it.

use std::collections::BTreeMap;

use super::{client::Request, gateway::TestGateway};

/// What one answer of `/metrics` holds.
#[derive(Clone, Debug)]
pub(crate) struct Scrape(Vec<Sample>);

/// One line of it.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Scrape {
    /// The sum of all samples of this name that have these labels, among others; 0 if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matching = self.0.iter().filter(|sample| {
            let has = |(label, value): &(&str, &str)| {
                sample
                    .labels
                    .get(*label)
                    .is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        });
        // The sum of nothing is -0.
        matching.map(|sample| sample.value).sum::<f64>() + 0.0
    }

    /// The same, where there has to be a sample of this name.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        assert!(self.has(name), "{name} is not in {:?}", self.names());
        self.sum(name, labels)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sample| sample.name == name)
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|sample| sample.name.as_str()).collect()
    }

    fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(Sample::parse).collect())
    }
}

impl Sample {
    /// `name{label="value",…} number`; no value of ours has a quote in it.
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        let labels = labels.split("\",").filter(|label| !label.is_empty());
        let labels = labels.map(|label| {
            let (name, value) = label.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        Self {
            name: name.to_owned(),
            labels: labels.collect(),
            value: value.parse().unwrap(),
        }
    }
}

impl TestGateway {
    /// What is counted now. Over `METRICS_ADDR` if it has one, or else as its operator.
    pub(crate) async fn metrics(&self) -> Scrape {
        let answer = match self.metrics_address() {
            Some(address) => Request::get("/metrics").send_to(address).await,
            None => self.admin().get("/metrics").await,
        };
        assert_eq!(answer.status(), 200, "{}", answer.text());
        Scrape::parse(&answer.text())
    }
}
