//! Answers that end too early, or in no marked place.

use super::*;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
const BY_LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello";
const UNFRAMED: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhello";

#[derive(Clone, Copy)]
enum Ending {
    Close,
    Cut,
    Reset,
}

/// Sends `answer`, waits until the client has seen `hello`, and ends the connection.
async fn ended(wire: Wire, answer: &'static str, ending: Ending) -> Result<Reply, Trouble> {
    let provider = Provider::start(wire, move |mut peer: Peer, _| async move {
        peer.request().await?;
        peer.send(answer).await?;
        match ending {
            Ending::Close => return peer.close().await,
            Ending::Cut => peer.cut(),
            Ending::Reset => peer.reset(),
        }
        Ok(())
    });
    post(&client_for(wire), &provider.url(), "x").await
}

/// A reset may overtake what came before it, so only the failure is certain then.
fn assert_cut(outcome: Result<Reply, Trouble>, ending: Ending) {
    let trouble = outcome.expect_err("a cut answer is no whole one");
    if !matches!(ending, Ending::Reset) {
        assert_eq!(trouble.failure, Failure::CutMidResponse);
        assert_eq!(trouble.before.as_ref().unwrap().body, "hello");
    }
    assert!(!trouble.is_stale);
}

over_tcp_and_tls! {
    async fn a_chunked_answer_that_is_cut_is_an_error(wire: Wire) {
        for ending in [Ending::Close, Ending::Cut, Ending::Reset] {
            assert_cut(ended(wire, CHUNKED, ending).await, ending);
        }
    }

    async fn an_answer_by_length_that_is_cut_is_an_error(wire: Wire) {
        for ending in [Ending::Close, Ending::Cut, Ending::Reset] {
            assert_cut(ended(wire, BY_LENGTH, ending).await, ending);
        }
    }

    async fn a_chunked_answer_without_its_very_last_byte_is_cut(wire: Wire) {
        let almost = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r";
        assert_cut(ended(wire, almost, Ending::Close).await, Ending::Close);
    }

    async fn an_answer_without_framing_is_read_to_its_end(wire: Wire) {
        let reply = ended(wire, UNFRAMED, Ending::Close).await.unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    }

    async fn an_answer_without_framing_is_cut_by_a_reset(wire: Wire) {
        assert_cut(ended(wire, UNFRAMED, Ending::Reset).await, Ending::Reset);
    }

    /// Over plain TCP nothing tells a cut from the end; TLS has an alert for the end.
    async fn an_answer_without_framing_ends_by_the_closing_alert_where_there_is_one(wire: Wire) {
        let outcome = ended(wire, UNFRAMED, Ending::Cut).await;
        match wire {
            Wire::Tcp => assert_eq!(outcome.unwrap().body, "hello"),
            Wire::Tls => assert_cut(outcome, Ending::Cut),
        }
    }

    async fn a_cut_between_two_chunks_of_a_stream_is_seen_after_both(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            peer.request().await?;
            for part in [CHUNKED, "5\r\n worl\r\n", "1\r\nd\r\n"] {
                peer.send(part).await?;
                tokio::task::yield_now().await;
            }
            peer.close().await
        });
        let trouble = post(&client_for(wire), &provider.url(), "x").await.unwrap_err();
        assert_eq!(trouble.failure, Failure::CutMidResponse);
        assert_eq!(trouble.before.unwrap().body, "hello world");
    }

    async fn an_empty_response_is_an_error_and_not_stale_on_a_fresh_connection(wire: Wire) {
        for ending in [Ending::Close, Ending::Cut, Ending::Reset] {
            let trouble = ended(wire, "", ending).await.unwrap_err();
            assert_eq!(trouble.failure, Failure::ClosedBeforeResponse);
            assert_eq!((trouble.is_stale, trouble.response_bytes), (false, 0));
            assert!(trouble.request_bytes > 0);
        }
    }

    async fn a_head_that_is_cut_is_no_response(wire: Wire) {
        let half = "HTTP/1.1 200 OK\r\ncontent-le";
        let trouble = ended(wire, half, Ending::Close).await.unwrap_err();
        assert_eq!(trouble.failure, Failure::ClosedBeforeResponse);
        assert_eq!(trouble.response_bytes, half.len() as u64);
    }
}
