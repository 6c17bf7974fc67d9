//! Asks a provider for its models: whether its address, its key and its headers are right.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;

use super::{transport::ProviderResponse, upstream::Upstream};
use crate::{
    domain::{Destination, Provider, Route},
    error::GatewayError,
};

/// The longest that an operator is kept waiting.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest known list has some 400 models and 700 KB.
const MAX_BYTES: usize = 8 << 20;
/// More names help nobody.
const MAX_NAMES: usize = 1_000;

/// What came of asking.
#[derive(Debug)]
pub struct Probe {
    /// The provider's, where an answer came.
    pub status: Option<StatusCode>,
    /// To the end of the answer, or to the failure.
    pub latency: Duration,
    /// The names of its models, or why there are none.
    pub models: Result<Vec<String>, GatewayError>,
}

/// Asks `GET {base_url}/models`, as a request for one of the provider's models would be sent.
pub async fn probe(upstream: &Upstream, provider: &Provider) -> Probe {
    let begun = Instant::now();
    let mut status = None;
    let asking = async {
        let response = upstream
            .ask(&route(provider), Method::GET, "/models")
            .await?;
        status = Some(response.status);
        read(response).await
    };
    let late = |_| Err(GatewayError::UpstreamTimeout { after: PATIENCE });
    let models = timeout(PATIENCE, asking).await.unwrap_or_else(late);
    Probe {
        status,
        latency: begun.elapsed(),
        models,
    }
}

/// The way to a provider, whatever the model.
fn route(provider: &Provider) -> Route {
    let destination = Destination {
        id: provider.id,
        name: provider.name.as_str().to_owned(),
        kind: provider.kind,
        base_url: provider.base_url.clone(),
        api_key: provider.api_key.clone(),
        headers: provider.headers.clone(),
        timeouts: provider.timeouts,
    };
    Route {
        provider: Arc::new(destination),
        provider_model: "(its list of models)".to_owned(),
        created_at: provider.created_at,
    }
}

async fn read(response: ProviderResponse) -> Result<Vec<String>, GatewayError> {
    let status = response.status;
    if !status.is_success() {
        // Its words may repeat the key.
        return Err(GatewayError::UpstreamRefused { status });
    }
    let unusable = |reason| GatewayError::UpstreamInvalidResponse { reason };
    let body = response.content.read(MAX_BYTES).await;
    let body = body.map_err(|error| unusable(error.to_string()))?;
    let body = body.ok_or_else(|| unusable(format!("it is longer than {MAX_BYTES} bytes")))?;
    let list = serde_json::from_slice::<List>(&body);
    let list = list.map_err(|_| GatewayError::UpstreamInvalidResponse {
        reason: "it is not a list of models in JSON".to_owned(),
    })?;
    Ok(list.names())
}

/// A list of models as providers write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum List {
    /// OpenAI's form, and Anthropic's.
    Data { data: Vec<Model> },
    /// Together's.
    Bare(Vec<Model>),
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

impl List {
    fn names(self) -> Vec<String> {
        let (Self::Data { data: models } | Self::Bare(models)) = self;
        models
            .into_iter()
            .map(|model| model.id)
            .take(MAX_NAMES)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_both_forms_are_read() {
        for (text, expected) in [
            (
                r#"{"object":"list","data":[{"id":"a","x":1},{"id":"b/c"}]}"#,
                2,
            ),
            (r#"[{"id":"a"}]"#, 1),
            (r#"{"data":[]}"#, 0),
        ] {
            let list: List = serde_json::from_str(text).unwrap();
            assert_eq!(list.names().len(), expected);
        }
        for text in [
            "{}",
            "{\"data\":{}}",
            "[1]",
            "\"sk\"",
            "{\"data\":[{\"name\":\"a\"}]}",
        ] {
            assert!(serde_json::from_str::<List>(text).is_err(), "{text}");
        }
    }
}
