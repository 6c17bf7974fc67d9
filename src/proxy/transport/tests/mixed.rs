//! Many callers at once, over one client, against providers that do everything wrong.

use futures_util::future::join_all;

use super::*;

const CALLERS: usize = 64;
const REQUESTS: usize = 40;

/// What the provider does with a request, chosen by the request itself.
const WAYS: usize = 13;

async fn misbehave(peer: &mut Peer, text: &str, way: usize) -> std::io::Result<bool> {
    let stranger = whole("the answer of a stranger");
    let good = match way {
        0 | 1 => whole(text),
        2 => chunked(text),
        3 => format!("HTTP/1.1 100 Continue\r\n\r\n{}", chunked(text)),
        4 => format!("HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n{}", whole(text)),
        5 => whole(text) + &stranger,
        6 => chunked(text) + "\r\n" + &stranger,
        7 => whole(text) + "garbage",
        8 => format!("HTTP/1.1 200 OK\r\n\r\n{text}"),
        9 => whole(text),
        10 => chunked(text)[..50].to_owned(),
        11 => String::new(),
        _ => format!("HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n{stranger}"),
    };
    peer.send(good).await?;
    Ok((8..=11).contains(&way))
}

over_tcp_and_tls! {
    async fn no_caller_receives_the_answer_of_another(wire: Wire) {
        let provider = Provider::start(wire, |mut peer: Peer, _| async move {
            loop {
                let text = peer.request().await?.text();
                let way = text.split(' ').nth(1).unwrap().parse().unwrap();
                if misbehave(&mut peer, &text, way).await? {
                    return match text.len() % 2 {
                        0 => peer.close().await,
                        _ => {
                            peer.reset();
                            Ok(())
                        }
                    };
                }
            }
        });
        let client = client_for(wire);
        let callers = (0..CALLERS).map(|caller| call_again_and_again(&client, provider.url(), caller));
        let good: usize = join_all(callers).await.into_iter().sum();
        let all = CALLERS * REQUESTS;
        assert!(good > all / 2, "{good} good answers");
        assert!(provider.connections() < all * 3 / 4, "connections were used again");
    }
}

/// How many answers were good. Every other one must be an error or empty, never someone else's.
async fn call_again_and_again(client: &Client, url: String, caller: usize) -> usize {
    let mut good = 0;
    for number in 0..REQUESTS {
        let way = (caller * 7 + number * 5) % WAYS;
        let text = format!(
            "{caller}-{number} {way} {}",
            "x".repeat(number * caller % 50_000)
        );
        match post(client, &url, text.as_str()).await {
            Ok(reply) if reply.status == 204 => assert_eq!((way, reply.body.as_str()), (12, "")),
            Ok(reply) => {
                assert_eq!(reply.body, text);
                good += 1;
            }
            Err(trouble) => {
                let shown = trouble.before.as_ref().map_or("", |reply| &reply.body);
                assert!(text.starts_with(shown), "{shown} is not of {text}");
                assert!(
                    trouble.is_stale || (8..=11).contains(&way),
                    "{way}: {trouble:?}"
                );
            }
        }
    }
    good
}
