// A board of notes in Node, kept by SQLite: node notes.js PORT FILE. The peer of examples/board in `cargo bench -- web`.
const http = require('node:http');
const { DatabaseSync } = require('node:sqlite');

const [port, file] = process.argv.slice(2);
const db = new DatabaseSync(file);
db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)');
const add = db.prepare('INSERT INTO notes (text) VALUES (?)');
const one = db.prepare('SELECT text FROM notes WHERE id = ?');

http.createServer((request, response) => {
  if (request.method === 'GET' && request.url.startsWith('/notes/')) {
    const note = one.get(Number(request.url.slice(7)));
    response.writeHead(note ? 200 : 404, { 'content-type': 'text/plain' });
    response.end(note ? note.text : 'there is no such note\n');
    return;
  }
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', () => {
    const { lastInsertRowid } = add.run(Buffer.concat(pieces).toString());
    response.writeHead(201, { 'content-type': 'text/plain' });
    response.end(String(lastInsertRowid));
  });
}).listen(Number(port), '127.0.0.1');
