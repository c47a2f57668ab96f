// Gradio tells a page what became of its events on one stream, which it closes once nothing is pending. An event that is asked
// for just then is answered on a stream that nobody opens until the next event: a timer, which waits for its own answer, stops
// for good. So while an event is pending the end of the stream is kept from the page, and the next stream is read on as one.
(() => {
    const ask = window.fetch;
    const pending = new Set(); // ids of events asked for and not done
    const early = new Set(); // done before the answer that tells their id was read
    const encoder = new TextEncoder();
    let asking = 0;

    const has = (input, path) => String(input instanceof Request ? input.url : input).includes(path);

    async function join(input, init) {
        asking += 1;
        try {
            const answer = await ask(input, init);
            if (answer.ok) {
                const { event_id } = await answer.clone().json();
                early.delete(event_id) || pending.add(event_id);
            }
            return answer;
        } finally {
            asking -= 1;
        }
    }

    function closes(message) {
        const start = message.slice(0, 200);
        const id = start.includes('"process_completed"') && /"event_id": ?"([^"]+)"/.exec(start);
        if (id) pending.delete(id[1]) || early.add(id[1]);
        return start.includes('"close_stream"');
    }

    // Hands the messages of one stream to the page, but for its end, which is the answer; null where it broke off.
    async function handOn(body, page) {
        const reader = body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        while (true) {
            const { value, done } = await reader.read();
            if (done) return null;
            const messages = (rest + value).split("\n\n");
            rest = messages.pop();
            for (const message of messages) {
                if (closes(message)) return message;
                page.enqueue(encoder.encode(message + "\n\n"));
            }
        }
    }

    async function read(request, answer, page) {
        while (true) {
            const end = await handOn(answer.body, page);
            if (end !== null && (asking || pending.size)) {
                answer = await ask(request.clone());
                if (answer.ok) continue;
            }
            if (end !== null) page.enqueue(encoder.encode(end + "\n\n"));
            return page.close();
        }
    }

    async function listen(input, init) {
        const request = new Request(input, init);
        const answer = await ask(request.clone());
        if (!answer.ok) return answer;
        const start = (page) => void read(request, answer, page).catch((error) => page.error(error));
        return new Response(new ReadableStream({ start }), { headers: answer.headers });
    }

    window.fetch = (input, init) => {
        if (has(input, "/queue/join")) return join(input, init);
        return has(input, "/queue/data") ? listen(input, init) : ask(input, init);
    };
})();
