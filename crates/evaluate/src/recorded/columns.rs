//! Which columns recorded events have at all.

use std::net::{IpAddr, Ipv4Addr};

use tokenwatch_model::context::Shape;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::network::NetworkFacts;

/// Columns that some event has a value in. Of what a gateway writes, those that logs from elsewhere often lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Columns {
    /// Addresses.
    pub address: bool,
    /// Autonomous systems.
    pub asn: bool,
    /// Countries.
    pub country: bool,
    /// Kinds of network.
    pub kind: bool,
    /// Software: family, version, runtime, system, TLS print.
    pub software: [bool; 5],
    /// Models.
    pub model: bool,
    /// Hashes of template, tools, roles, parameters, prompt.
    pub hashes: [bool; 5],
    /// Numbers of messages and of tools.
    pub counts: [bool; 2],
    /// What is read from prompts and answers: topic, phrases, completion.
    pub content: [bool; 3],
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Output limits.
    pub limit: bool,
    /// Bytes of requests and of answers.
    pub bytes: [bool; 2],
    /// Time to the first byte, and to the end.
    pub times: [bool; 2],
}

impl Columns {
    /// Notes what an event has.
    pub fn see(&mut self, event: &UsageEvent) {
        let (request, shape) = (&event.request, &event.request.shape);
        let facts = request.source.facts;
        let unknown = NetworkFacts::default();
        let client = &request.client;
        self.address |= !request.source.address.is_unspecified();
        self.asn |= facts.asn != 0;
        self.country |= facts.country != unknown.country;
        self.kind |= facts.kind != unknown.kind;
        let software = [
            !client.family.is_empty(),
            !client.version.is_empty(),
            !client.runtime.is_empty(),
            !client.os.is_empty(),
            client.tls != 0,
        ];
        add(&mut self.software, software);
        self.model |= !request.model.is_empty();
        add(&mut self.hashes, hashes(shape).map(|hash| hash != 0));
        add(&mut self.counts, [shape.messages, shape.tool_count].map(|count| count != 0));
        add(&mut self.content, [shape.topic != 0, shape.phrases != 0, event.completion != 0]);
        self.stream |= request.stream;
        self.limit |= request.output_tokens_max != 0;
        add(&mut self.bytes, [request.request_bytes, event.response_bytes].map(|bytes| bytes != 0));
        add(&mut self.times, [event.first_byte_us, event.duration_us].map(|time| time != 0));
    }

    /// Takes from an event what no recorded event has.
    pub fn hide_others(&self, event: &mut UsageEvent) {
        let request = &mut event.request;
        let (facts, unknown) = (&mut request.source.facts, NetworkFacts::default());
        keep(self.asn, &mut facts.asn);
        if !self.country {
            facts.country = unknown.country;
        }
        if !self.kind {
            facts.kind = unknown.kind;
        }
        if !self.address {
            request.source.address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        }
        let client = &mut request.client;
        let [family, version, runtime, os, tls] = self.software;
        keep(family, &mut client.family);
        keep(version, &mut client.version);
        keep(runtime, &mut client.runtime);
        keep(os, &mut client.os);
        keep(tls, &mut client.tls);
        keep(self.model, &mut request.model);
        let shape = &mut request.shape;
        let [template, tools, roles, parameters, prompt] = self.hashes;
        keep(template, &mut shape.template);
        keep(tools, &mut shape.tools);
        keep(roles, &mut shape.roles);
        keep(parameters, &mut shape.parameters);
        keep(prompt, &mut shape.prompt);
        let [messages, tool_count] = self.counts;
        keep(messages, &mut shape.messages);
        keep(tool_count, &mut shape.tool_count);
        let [topic, phrases, completion] = self.content;
        keep(topic, &mut shape.topic);
        keep(phrases, &mut shape.phrases);
        keep(completion, &mut event.completion);
        keep(self.stream, &mut request.stream);
        keep(self.limit, &mut request.output_tokens_max);
        let [request_bytes, response_bytes] = self.bytes;
        keep(request_bytes, &mut request.request_bytes);
        keep(response_bytes, &mut event.response_bytes);
        let [first_byte, duration] = self.times;
        keep(first_byte, &mut event.first_byte_us);
        keep(duration, &mut event.duration_us);
    }

    /// What detection reads that no event has, in words.
    pub fn missing(&self) -> Vec<&'static str> {
        let [family, .., tls] = self.software;
        let [template, _, _, _, prompt] = self.hashes;
        let [topic, _, completion] = self.content;
        [
            (self.address, "addresses"),
            (self.country, "countries"),
            (self.kind, "kinds of network"),
            (family, "client software"),
            (tls, "TLS prints"),
            (self.model, "models"),
            (template, "prompt templates"),
            (prompt, "prompt hashes"),
            (topic || completion, "content signals"),
        ]
        .into_iter()
        .filter_map(|(is_there, name)| (!is_there).then_some(name))
        .collect()
    }
}

fn hashes(shape: &Shape) -> [u64; 5] {
    [shape.template, shape.tools, shape.roles, shape.parameters, shape.prompt]
}

fn add<const N: usize>(seen: &mut [bool; N], has: [bool; N]) {
    seen.iter_mut().zip(has).for_each(|(seen, has)| *seen |= has);
}

fn keep<T: Default>(is_there: bool, value: &mut T) {
    if !is_there {
        *value = T::default();
    }
}
