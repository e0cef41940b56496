"""A local page that restores pictures: what it does, and Gradio's part of it (the extra `web`).

    request -> events of its progress -> outcome    requests, events, restoring, maps
    many requests, one device                       queue
    folders of the users, as long as they stay      sessions
    the page, and the server that shows it          html, page, server

Only `page` and `server` need Gradio.
"""
