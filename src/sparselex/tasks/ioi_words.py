"""Words for prompts about people who give things to each other. A tokenizer keeps those that it has as one token."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    """
    Aaron Adam Alan Albert Alex Alice Amanda Amy Andrew Angela Anna Anne Anthony Arthur Barbara Ben Benjamin Betty
    Bill Bob Brian Bruce Carl Carol Caroline Catherine Charles Charlotte Chris Christine Claire Clara Craig Daniel
    David Dean Deborah Diana Don Donald Dorothy Douglas Edward Eleanor Elizabeth Ellen Emily Emma Eric Eva Evan
    Florence Frances Frank Fred Gary George Gordon Grace Graham Greg Hannah Harold Harry Heather Helen Henry Howard
    Hugh Ian Isaac Jack Jacob James Jane Janet Jason Jean Jeff Jennifer Jeremy Jessica Jim Joan Joe John Jonathan
    Joseph Joshua Judith Julia Julie Karen Kate Katherine Keith Kelly Ken Kevin Kim Larry Laura Lauren Lee Leon
    Leonard Lewis Linda Lisa Lloyd Louis Louise Lucas Lucy Luke Madison Margaret Maria Marie Mark Martha Martin Mary
    Matthew Max Michael Michelle Mike Mitchell Molly Monica Morgan Nancy Nathan Neil Nicholas Nick Nicole Nora
    Oliver Olivia Oscar Owen Pamela Patricia Patrick Paul Peter Philip Rachel Ralph Ray Rebecca Richard Robert Robin
    Roger Ronald Rose Ross Roy Russell Ruth Ryan Sally Sam Samuel Sandra Sara Sarah Scott Sean Sharon Simon Sophie
    Stephanie Stephen Steve Steven Stuart Susan Sylvia Taylor Ted Theodore Theresa Thomas Tim Timothy Todd Tom Tony
    Tyler Victor Victoria Vincent Virginia Walter Warren Wayne Wendy William Zachary
    """
)
"""First names."""

OBJECTS = _words(
    """
    apple bag ball basket bell book bottle bowl box bracelet bread brush bucket cake camera candle card chain cheese
    clock coat coin computer cookie cup doll drink drum fan flag flower gift glass guitar hammer hat jar jacket key
    knife lamp letter magazine map mask medal mirror mug necklace newspaper notebook orange painting paper pen
    pencil phone photo picture pie pillow plate poster puzzle radio ring rope rose sandwich scarf shirt shoe sketch
    spoon stamp stone sword ticket towel toy tray umbrella vase violin wallet watch whistle
    """
)
"""What is given."""

PLACES = _words(
    """
    airport bakery bank beach bridge cafe camp castle cathedral cemetery church cinema clinic club college court
    factory farm festival forest gallery garden gym hall harbor hospital hotel house island lake library market
    meadow mill mountain museum office palace park party pier port restaurant river school shop square stadium
    station store studio temple theater theatre tower town university village warehouse zoo
    """
)
"""Where."""
