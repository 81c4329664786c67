// The search of the built site, as its pages run it: node search.js SITE QUERY... prints the addresses of its hits.
const fs = require("fs"), path = require("path"), vm = require("vm")
const [site, ...queries] = process.argv.slice(2)
const folder = path.join(site, "assets/javascripts/workers")
const worker = fs.readdirSync(folder).find(name => /^search\..*\.js$/.test(name))
const index = JSON.parse(fs.readFileSync(path.join(site, "search.json"), "utf8"))
const hits = {}
const page = { console, setTimeout, URL, TextDecoder, location: { href: "http://example/" }, importScripts() {} }
page.self = page
page.postMessage = ({ type, data }) => {
  if (type === 3) hits[queries[Object.keys(hits).length]] = data.items.map(item => index.items[item.id].location)
  const query = queries[Object.keys(hits).length]
  if (query === undefined) console.log(JSON.stringify(hits))
  else page.onmessage({ data: { type: 2, data: { input: query } } })
}
vm.runInNewContext(fs.readFileSync(path.join(folder, worker), "utf8"), page)
page.onmessage({ data: { type: 0, data: index } })
