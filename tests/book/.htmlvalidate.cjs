// The recommended rules, but for matters of spelling that templates of others decide.
module.exports = {
  root: true,
  extends: ["html-validate:recommended"],
  rules: {
    // Ids of the reference are names of Python, with dots; HTML forbids no more than white space.
    "valid-id": ["error", { relaxed: true }],
    "attribute-boolean-style": "off", // sphinx-design writes checked="checked"
    "no-inline-style": "off", // Sphinx's index sets the width of its columns
    "no-trailing-whitespace": "off", // of Sphinx's templates
    "prefer-tbody": "off", // Sphinx's index has none
  },
};
