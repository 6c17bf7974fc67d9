//! `Scrape`: `/metrics` as a monitoring system sees it. The format is read strictly: what a scraper
//! might refuse or misread fails the test
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::collections::{BTreeMap, BTreeSet};

use super::{client::Request, gateway::TestGateway};

/// A number, by the name and the labels that it has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// What a scrape has brought.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    /// Type by name of family.
    families: BTreeMap<String, String>,
    pub(crate) samples: Vec<Sample>,
}

impl Scrape {
    fn read(text: &str) -> Self {
        let mut reader = Reader::default();
        assert!(text.ends_with('\n'));
        for line in text.strip_suffix('\n').unwrap().split('\n') {
            reader.take(line);
        }
        let scrape = Self {
            families: reader.families,
            samples: reader.samples,
        };
        scrape.check_histograms();
        scrape
    }

    /// The sum of all samples of this name that have these labels, among others; 0 if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            let mut labels = labels.iter();
            labels.all(|(key, value)| sample.labels.get(*key).map(String::as_str) == Some(*value))
        };
        let of_name = self.samples.iter().filter(|sample| sample.name == name);
        // The sum of nothing is -0.
        of_name.filter(has).map(|sample| sample.value).sum::<f64>() + 0.0
    }

    /// The same, where there has to be a sample of this name.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        assert!(self.has(name), "{name} is not in {:?}", self.samples);
        self.sum(name, labels)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    fn check_histograms(&self) {
        let histograms = self
            .families
            .iter()
            .filter(|(_, kind)| *kind == "histogram");
        for (family, _) in histograms {
            let counts = self
                .samples
                .iter()
                .filter(|sample| sample.name == format!("{family}_count"));
            for count in counts {
                self.check_histogram(family, count);
            }
        }
    }

    fn check_histogram(&self, family: &str, count: &Sample) {
        let bucket = format!("{family}_bucket");
        let mut last = (f64::NEG_INFINITY, 0.0);
        for sample in self.samples.iter().filter(|sample| sample.name == bucket) {
            let mut labels = sample.labels.clone();
            let end = labels.remove("le").unwrap();
            if labels == count.labels {
                let end: f64 = end.trim_start_matches('+').parse().unwrap();
                assert!(
                    end > last.0 && sample.value >= last.1,
                    "{sample:?} after {last:?}"
                );
                last = (end, sample.value);
            }
        }
        assert_eq!(last, (f64::INFINITY, count.value), "{count:?}");
        let sums = self
            .samples
            .iter()
            .filter(|sample| sample.name == format!("{family}_sum"));
        assert_eq!(sums.filter(|sum| sum.labels == count.labels).count(), 1);
    }
}

#[derive(Default)]
struct Reader {
    families: BTreeMap<String, String>,
    /// The family whose samples may come now, and its type.
    present: Option<(String, String)>,
    helped: BTreeSet<String>,
    seen: BTreeSet<String>,
    samples: Vec<Sample>,
}

impl Reader {
    fn take(&mut self, line: &str) {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(
                !text.is_empty() && self.helped.insert(name.to_owned()),
                "{line}"
            );
            self.present = None;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(self.helped.contains(name), "no help before {line}");
            let before = self.families.insert(name.to_owned(), kind.to_owned());
            assert!(before.is_none(), "a second time: {line}");
            self.present = Some((name.to_owned(), kind.to_owned()));
        } else {
            assert!(!line.starts_with('#'), "{line}");
            self.take_sample(line);
        }
    }

    fn take_sample(&mut self, line: &str) {
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(end);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        assert!(name.bytes().all(is_name), "{line}");
        let (family, kind) = self
            .present
            .as_ref()
            .unwrap_or_else(|| panic!("of nothing: {line}"));
        let suffix = name.strip_prefix(family.as_str()).unwrap();
        let is_expected = match kind.as_str() {
            "histogram" => ["_sum", "_count", "_bucket"].contains(&suffix),
            "counter" => suffix.is_empty() && name.ends_with("_total"),
            _ => suffix.is_empty(),
        };
        assert!(is_expected, "{line} in {family}");
        let mut labels = BTreeMap::new();
        if let Some(mut pairs) = rest.strip_prefix('{') {
            loop {
                let (key, behind) = pairs.split_once("=\"").unwrap();
                assert!(key.bytes().all(is_name), "{line}");
                let (value, behind) = label_value(behind);
                assert!(labels.insert(key.to_owned(), value).is_none(), "{line}");
                match behind.strip_prefix(',') {
                    Some(behind) => pairs = behind,
                    None => {
                        rest = behind.strip_prefix('}').unwrap();
                        break;
                    }
                }
            }
        }
        let value = rest.strip_prefix(' ').unwrap().parse().unwrap();
        let is_new = self.seen.insert(format!("{name}{labels:?}"));
        assert!(is_new, "a second time: {line}");
        self.samples.push(Sample {
            name: name.to_owned(),
            labels,
            value,
        });
    }
}

/// A value up to its quote, and what follows.
fn label_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match characters.next().unwrap().1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                other => panic!("\\{other} in {text}"),
            }),
            other => value.push(other),
        }
    }
    panic!("no end: {text}");
}

impl TestGateway {
    /// What is counted now. Over `METRICS_ADDR` if it has one, or else as its operator.
    pub(crate) async fn metrics(&self) -> Scrape {
        let answer = match self.metrics_address() {
            Some(address) => Request::get("/metrics").send_to(address).await,
            None => self.admin().get("/metrics").await,
        };
        assert_eq!(answer.status(), 200, "{}", answer.text());
        Scrape::read(&answer.text())
    }
}
